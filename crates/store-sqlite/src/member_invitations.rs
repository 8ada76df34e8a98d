//! Invitations to become a member of an organization.

use airouter_billing::{AccountId, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::MemberRole;
use airouter_store::organizations::{
    Acceptance, MOST_INVITATIONS, MOST_MEMBERS, MemberInvitationRecord, NewMemberInvitation,
    OrganizationChanged,
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::audit;
use crate::connection::failed;
use crate::convert::Column;

const NO_INVITATION: StoreError = StoreError::NotFound {
    what: "the invitation",
};

/// Makes an invitation.
pub(crate) async fn invite(
    connection: &mut SqliteConnection,
    invitation: &NewMemberInvitation,
    entry: &AuditEntry,
) -> Result<OrganizationChanged, StoreError> {
    let organization = invitation.organization.get();
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!: i64" FROM organization_invitations
        WHERE organization_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL"#,
        organization
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if open >= MOST_INVITATIONS {
        return Ok(OrganizationChanged::TooMany);
    }
    let (code, role) = (
        invitation.code.as_bytes().as_slice(),
        invitation.role.name(),
    );
    let (at, expires_at) = (entry.at.as_micros(), invitation.expires_at.as_micros());
    sqlx::query!(
        "INSERT INTO organization_invitations (id, organization_id, code_hash, email, role, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)",
        invitation.id,
        organization,
        code,
        invitation.email,
        role,
        at,
        expires_at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    audit::append(connection, entry).await?;
    Ok(OrganizationChanged::Yes)
}

/// Invitations that nobody has accepted or revoked.
pub(crate) async fn open(
    connection: &mut SqliteConnection,
    organization: AccountId,
    after: Option<Uuid>,
    limit: u16,
) -> Result<Vec<MemberInvitationRecord>, StoreError> {
    let (organization, limit) = (organization.get(), i64::from(limit));
    let rows = sqlx::query!(
        "SELECT id, email, role, created_at, expires_at FROM organization_invitations
        WHERE organization_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND ($2 IS NULL OR id > $2)
        ORDER BY id LIMIT $3",
        organization,
        after,
        limit
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("organization_invitations", name);
    rows.into_iter()
        .map(|row| {
            let id = column("id").uuid(&row.id)?;
            let role =
                MemberRole::from_name(&row.role).ok_or_else(|| column("role").corrupt(id))?;
            Ok(MemberInvitationRecord {
                id,
                email: row.email,
                role,
                created_at: Timestamp::from_micros(row.created_at),
                expires_at: Timestamp::from_micros(row.expires_at),
            })
        })
        .collect()
}

/// Revokes an open invitation.
pub(crate) async fn revoke(
    connection: &mut SqliteConnection,
    organization: AccountId,
    invitation: Uuid,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let (organization, at) = (organization.get(), entry.at.as_micros());
    let revoked = sqlx::query!(
        "UPDATE organization_invitations SET revoked_at = $3
        WHERE id = $2 AND organization_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL",
        organization,
        invitation,
        at
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
    connection: &mut SqliteConnection,
    acceptance: &Acceptance,
) -> Result<(OrganizationChanged, AccountId), StoreError> {
    let (code, at) = (
        acceptance.code.as_bytes().as_slice(),
        acceptance.audit.at.as_micros(),
    );
    let found = sqlx::query!(
        "SELECT id, organization_id, role FROM organization_invitations
        WHERE code_hash = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $2
            AND lower(email) = lower($3)",
        code,
        at,
        acceptance.email
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(NO_INVITATION)?;
    let organization =
        Column::new("organization_invitations", "organization_id").uuid(&found.organization_id)?;
    let person = acceptance.person.get();
    let account = AccountId::new(organization);
    let present = sqlx::query!(
        r#"SELECT count(*) AS "members!: i64", coalesce(max(person_id = $2), 0) AS "is_member!: i64" FROM memberships
        WHERE organization_id = $1 AND ended_at IS NULL"#,
        organization,
        person
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if present.is_member != 0 {
        return Ok((OrganizationChanged::Member, account));
    }
    if present.members >= MOST_MEMBERS {
        return Ok((OrganizationChanged::TooMany, account));
    }
    let id = Uuid::now_v7();
    sqlx::query!(
        "INSERT INTO memberships (id, organization_id, person_id, role, created_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (organization_id, person_id) DO UPDATE
        SET role = excluded.role, created_at = excluded.created_at, ended_at = NULL",
        id,
        organization,
        person,
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
        person
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let mut entry = acceptance.audit.clone();
    entry.subject = organization;
    audit::append(connection, &entry).await?;
    Ok((OrganizationChanged::Yes, account))
}
