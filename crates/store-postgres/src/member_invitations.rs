//! Invitations to become a member of an organization.

use airouter_billing::{AccountId, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::MemberRole;
use airouter_store::organizations::{
    Acceptance, MOST_INVITATIONS, MOST_MEMBERS, MemberInvitationRecord, NewMemberInvitation,
    OrganizationChanged,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, timestamptz};
use crate::{audit, organizations};

const NO_INVITATION: StoreError = StoreError::NotFound {
    what: "the invitation",
};

/// Makes an invitation.
pub(crate) async fn invite(
    connection: &mut PgConnection,
    invitation: &NewMemberInvitation,
    entry: &AuditEntry,
) -> Result<OrganizationChanged, StoreError> {
    organizations::lock(connection, invitation.organization).await?;
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM organization_invitations
        WHERE organization_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL"#,
        invitation.organization.get()
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if open >= MOST_INVITATIONS {
        return Ok(OrganizationChanged::TooMany);
    }
    sqlx::query!(
        "INSERT INTO organization_invitations (id, organization_id, code_hash, email, role, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)",
        invitation.id,
        invitation.organization.get(),
        invitation.code.as_bytes().as_slice(),
        invitation.email,
        invitation.role.name(),
        timestamptz(entry.at),
        timestamptz(invitation.expires_at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    audit::append(connection, entry).await?;
    Ok(OrganizationChanged::Yes)
}

/// Invitations that nobody has accepted or revoked.
pub(crate) async fn open(
    connection: &mut PgConnection,
    organization: AccountId,
    after: Option<Uuid>,
    limit: u16,
) -> Result<Vec<MemberInvitationRecord>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, email, role, created_at, expires_at FROM organization_invitations
        WHERE organization_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND ($2::uuid IS NULL OR id > $2)
        ORDER BY id LIMIT $3",
        organization.get(),
        after,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let role = MemberRole::from_name(&row.role)
                .ok_or_else(|| Column::new("organization_invitations", "role").corrupt(row.id))?;
            Ok(MemberInvitationRecord {
                id: row.id,
                email: row.email,
                role,
                created_at: Timestamp::from(row.created_at),
                expires_at: Timestamp::from(row.expires_at),
            })
        })
        .collect()
}

/// Revokes an open invitation.
pub(crate) async fn revoke(
    connection: &mut PgConnection,
    organization: AccountId,
    invitation: Uuid,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let revoked = sqlx::query!(
        "UPDATE organization_invitations SET revoked_at = $3
        WHERE id = $2 AND organization_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL",
        organization.get(),
        invitation,
        timestamptz(entry.at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if revoked.rows_affected() == 0 {
        return Err(NO_INVITATION);
    }
    audit::append(connection, entry).await
}

/// Makes a person a member.
pub(crate) async fn accept(
    connection: &mut PgConnection,
    acceptance: &Acceptance,
) -> Result<(OrganizationChanged, AccountId), StoreError> {
    let at = timestamptz(acceptance.audit.at);
    let found = sqlx::query!(
        "SELECT id, organization_id, role FROM organization_invitations
        WHERE code_hash = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $2
            AND lower(email) = lower($3)
        FOR UPDATE",
        acceptance.code.as_bytes().as_slice(),
        at,
        acceptance.email
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(NO_INVITATION)?;
    let organization = AccountId::new(found.organization_id);
    organizations::lock(connection, organization).await?;
    let present = sqlx::query!(
        r#"SELECT count(*) AS "members!", coalesce(bool_or(person_id = $2), false) AS "is_member!" FROM memberships
        WHERE organization_id = $1 AND ended_at IS NULL"#,
        organization.get(),
        acceptance.person.get()
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if present.is_member {
        return Ok((OrganizationChanged::Member, organization));
    }
    if present.members >= MOST_MEMBERS {
        return Ok((OrganizationChanged::TooMany, organization));
    }
    sqlx::query!(
        "INSERT INTO memberships (id, organization_id, person_id, role, created_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (organization_id, person_id) DO UPDATE
        SET role = excluded.role, created_at = excluded.created_at, ended_at = NULL",
        Uuid::now_v7(),
        organization.get(),
        acceptance.person.get(),
        found.role,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE organization_invitations SET accepted_at = $2, accepted_by = $3 WHERE id = $1",
        found.id,
        at,
        acceptance.person.get()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let mut entry = acceptance.audit.clone();
    entry.subject = organization.get();
    audit::append(connection, &entry).await?;
    Ok((OrganizationChanged::Yes, organization))
}
