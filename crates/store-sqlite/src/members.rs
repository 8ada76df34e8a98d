//! Members of organizations. A membership that has ended stays: its budgets are part of what requests were charged to.

use airouter_billing::{AccountId, Period, Quantity, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::MemberRole;
use airouter_store::organizations::{
    MemberChange, MemberRecord, MemberSettings, OrganizationChanged,
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::audit;
use crate::caps::{self, Spender};
use crate::connection::failed;
use crate::convert::{Column, hex};
use crate::people::BudgetOwner;

const NO_MEMBER: StoreError = StoreError::NotFound { what: "the member" };

/// Members of an organization: one, or those after one.
pub(crate) async fn rows(
    connection: &mut SqliteConnection,
    organization: AccountId,
    (only, after): (Option<Uuid>, Option<Uuid>),
    limit: u16,
) -> Result<Vec<MemberRecord>, StoreError> {
    let (organization, limit) = (organization.get(), i64::from(limit));
    let rows = sqlx::query!(
        "SELECT m.id, m.person_id, m.role, m.created_at, u.name, u.email
        FROM memberships m JOIN persons p ON p.account_id = m.person_id JOIN users u ON u.id = p.user_id
        WHERE m.organization_id = $1 AND m.ended_at IS NULL AND ($2 IS NULL OR m.id = $2) AND ($3 IS NULL OR m.id > $3)
        ORDER BY m.id LIMIT $4",
        organization,
        only,
        after,
        limit
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("memberships", name);
    let mut members: Vec<MemberRecord> = rows
        .into_iter()
        .map(|row| {
            let id = column("id").uuid(&row.id)?;
            let role =
                MemberRole::from_name(&row.role).ok_or_else(|| column("role").corrupt(id))?;
            Ok(MemberRecord {
                id,
                person: AccountId::new(column("person_id").uuid(&row.person_id)?),
                name: row.name,
                email: row.email,
                settings: MemberSettings {
                    role,
                    daily_limit: None,
                    monthly_limit: None,
                },
                joined_at: Timestamp::from_micros(row.created_at),
            })
        })
        .collect::<Result<_, StoreError>>()?;
    note_caps(connection, &mut members).await?;
    Ok(members)
}

async fn note_caps(
    connection: &mut SqliteConnection,
    members: &mut [MemberRecord],
) -> Result<(), StoreError> {
    let ids: Vec<String> = members.iter().map(|member| hex(member.id)).collect();
    let ids = serde_json::json!(ids).to_string();
    let nanos = Quantity::Nanos.name();
    let caps = sqlx::query!(
        r#"SELECT owner_id, period, cap AS "cap!: i64" FROM budgets
        WHERE owner_kind = 'member' AND owner_id IN (SELECT unhex(value) FROM json_each($1)) AND quantity = $2
            AND cap IS NOT NULL"#,
        ids,
        nanos
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for cap in caps {
        let owner = Column::new("budgets", "owner_id").uuid(&cap.owner_id)?;
        let period = Period::from_name(&cap.period)
            .ok_or_else(|| Column::new("budgets", "period").corrupt(owner))?;
        // They are in the order of their ids.
        if let Ok(position) = members.binary_search_by_key(&owner, |member| member.id) {
            members[position].settings.note(period, cap.cap);
        }
    }
    Ok(())
}

/// One member.
pub(crate) async fn one(
    connection: &mut SqliteConnection,
    organization: AccountId,
    member: Uuid,
) -> Result<Option<MemberRecord>, StoreError> {
    let mut found = rows(connection, organization, (Some(member), None), 1).await?;
    Ok(found.pop())
}

/// Changes what is set of a member.
pub(crate) async fn change(
    connection: &mut SqliteConnection,
    organization: AccountId,
    member: Uuid,
    change: &MemberChange,
) -> Result<OrganizationChanged, StoreError> {
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
    let role = after.role.name();
    sqlx::query!(
        "UPDATE memberships SET role = $2 WHERE id = $1",
        member,
        role
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
    connection: &mut SqliteConnection,
    organization: AccountId,
    member: Uuid,
    entry: &AuditEntry,
) -> Result<OrganizationChanged, StoreError> {
    let found = one(connection, organization, member).await?;
    let found = found.ok_or(NO_MEMBER)?;
    let is_owner = found.settings.role == MemberRole::Owner;
    if is_owner && owners(connection, organization).await? <= 1 {
        return Ok(OrganizationChanged::LastOwner);
    }
    let at = entry.at.as_micros();
    sqlx::query!(
        "UPDATE memberships SET ended_at = $2 WHERE id = $1",
        member,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let (person, organization) = (found.person.get(), organization.get());
    sqlx::query!(
        "UPDATE api_keys SET revoked_at = $3 WHERE account_id = $1 AND payer_id = $2 AND revoked_at IS NULL",
        person,
        organization,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    audit::append(connection, entry).await?;
    Ok(OrganizationChanged::Yes)
}

async fn owners(
    connection: &mut SqliteConnection,
    organization: AccountId,
) -> Result<i64, StoreError> {
    let organization = organization.get();
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "owners!: i64" FROM memberships
        WHERE organization_id = $1 AND role = 'owner' AND ended_at IS NULL"#,
        organization
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

/// The keys with which a person spends or has spent from an organization.
async fn keys(
    connection: &mut SqliteConnection,
    organization: AccountId,
    person: AccountId,
) -> Result<Vec<Uuid>, StoreError> {
    let (person, organization) = (person.get(), organization.get());
    let ids = sqlx::query_scalar!(
        "SELECT id FROM api_keys WHERE account_id = $1 AND payer_id = $2",
        person,
        organization
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    ids.iter()
        .map(|id| Column::new("api_keys", "id").uuid(id))
        .collect()
}
