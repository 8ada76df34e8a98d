//! Members of organizations. A membership that has ended stays: its budgets are part of what requests were charged to.

use airouter_billing::{AccountId, Period, Quantity, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::MemberRole;
use airouter_store::organizations::{
    MemberChange, MemberRecord, MemberSettings, OrganizationChanged,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::caps::{self, Spender};
use crate::connection::failed;
use crate::convert::{Column, timestamptz};
use crate::people::BudgetOwner;
use crate::{audit, organizations};

const NO_MEMBER: StoreError = StoreError::NotFound { what: "the member" };

/// Members of an organization: one, or those after one.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    organization: AccountId,
    (only, after): (Option<Uuid>, Option<Uuid>),
    limit: u16,
) -> Result<Vec<MemberRecord>, StoreError> {
    let rows = sqlx::query!(
        "SELECT m.id, m.person_id, m.role, m.created_at, u.name, u.email
        FROM memberships m JOIN persons p ON p.account_id = m.person_id JOIN users u ON u.id = p.user_id
        WHERE m.organization_id = $1 AND m.ended_at IS NULL AND ($2::uuid IS NULL OR m.id = $2)
            AND ($3::uuid IS NULL OR m.id > $3)
        ORDER BY m.id LIMIT $4",
        organization.get(),
        only,
        after,
        i64::from(limit)
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut members: Vec<MemberRecord> = rows
        .into_iter()
        .map(|row| {
            let role = MemberRole::from_name(&row.role)
                .ok_or_else(|| Column::new("memberships", "role").corrupt(row.id))?;
            Ok(MemberRecord {
                id: row.id,
                person: AccountId::new(row.person_id),
                name: row.name,
                email: row.email,
                settings: MemberSettings {
                    role,
                    daily_limit: None,
                    monthly_limit: None,
                },
                joined_at: Timestamp::from(row.created_at),
            })
        })
        .collect::<Result<_, StoreError>>()?;
    let caps = sqlx::query!(
        r#"SELECT owner_id, period, cap AS "cap!" FROM budgets
        WHERE owner_kind = 'member' AND owner_id = ANY ($1) AND quantity = $2 AND cap IS NOT NULL"#,
        &ids,
        Quantity::Nanos.name()
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for cap in caps {
        let period = Period::from_name(&cap.period)
            .ok_or_else(|| Column::new("budgets", "period").corrupt(cap.owner_id))?;
        // They are in the order of their ids.
        if let Ok(position) = members.binary_search_by_key(&cap.owner_id, |member| member.id) {
            members[position].settings.note(period, cap.cap);
        }
    }
    Ok(members)
}

/// One member.
pub(crate) async fn one(
    connection: &mut PgConnection,
    organization: AccountId,
    member: Uuid,
) -> Result<Option<MemberRecord>, StoreError> {
    let mut found = rows(connection, organization, (Some(member), None), 1).await?;
    Ok(found.pop())
}

/// Locks the organization, the member's budgets and their periods, in this order.
pub(crate) async fn change(
    connection: &mut PgConnection,
    organization: AccountId,
    member: Uuid,
    change: &MemberChange,
) -> Result<OrganizationChanged, StoreError> {
    organizations::lock(connection, organization).await?;
    let found = one(connection, organization, member).await?;
    let found = found.ok_or(NO_MEMBER)?;
    if found.settings != change.expected {
        return Ok(OrganizationChanged::Conflict);
    }
    let (before, after) = (change.expected, change.settings);
    if before.role == MemberRole::Owner
        && after.role == MemberRole::Member
        && owners(connection, organization).await? <= 1
    {
        return Ok(OrganizationChanged::LastOwner);
    }
    sqlx::query!(
        "UPDATE memberships SET role = $2 WHERE id = $1",
        member,
        after.role.name()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let spender = Spender {
        owner: BudgetOwner::Member(member),
        keys: keys(connection, organization, found.person).await?,
    };
    for cap in after.cap_changes(&before) {
        caps::set(connection, &spender, cap, change.audit.at).await?;
    }
    audit::append(connection, &change.audit).await?;
    Ok(OrganizationChanged::Yes)
}

/// Ends a membership, and revokes the keys with which the person spends from the organization.
pub(crate) async fn remove(
    connection: &mut PgConnection,
    organization: AccountId,
    member: Uuid,
    entry: &AuditEntry,
) -> Result<OrganizationChanged, StoreError> {
    organizations::lock(connection, organization).await?;
    let found = one(connection, organization, member).await?;
    let found = found.ok_or(NO_MEMBER)?;
    let is_owner = found.settings.role == MemberRole::Owner;
    if is_owner && owners(connection, organization).await? <= 1 {
        return Ok(OrganizationChanged::LastOwner);
    }
    let at = timestamptz(entry.at);
    // Waits for keys that are just being made.
    sqlx::query!(
        "UPDATE memberships SET ended_at = $2 WHERE id = $1",
        member,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE api_keys SET revoked_at = $3 WHERE account_id = $1 AND payer_id = $2 AND revoked_at IS NULL",
        found.person.get(),
        organization.get(),
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    audit::append(connection, entry).await?;
    Ok(OrganizationChanged::Yes)
}

async fn owners(connection: &mut PgConnection, organization: AccountId) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "owners!" FROM memberships
        WHERE organization_id = $1 AND role = 'owner' AND ended_at IS NULL"#,
        organization.get()
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

/// The keys with which a person spends or has spent from an organization.
async fn keys(
    connection: &mut PgConnection,
    organization: AccountId,
    person: AccountId,
) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        "SELECT id FROM api_keys WHERE account_id = $1 AND payer_id = $2",
        person.get(),
        organization.get()
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}
