//! Organizations as their members see and change them.

use airouter_billing::{AccountId, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::{MemberRole, NewMember, NewOrganization};
use airouter_store::organizations::{
    Acceptance, MOST_OWNED, MemberChange, MemberInvitationRecord, MemberRecord,
    NewMemberInvitation, OrganizationChanged, OrganizationRecord, Organizations,
};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::Column;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;
use crate::{audit, member_invitations, members, people};

#[async_trait]
impl Organizations for PostgresStore {
    async fn found(
        &self,
        organization: &NewOrganization,
        founder: AccountId,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let founded = found(&mut transaction, organization, founder, audit).await;
            finish(transaction, founded).await
        })
        .await
    }

    async fn organizations_of(
        &self,
        person: AccountId,
        after: Option<AccountId>,
        limit: u16,
    ) -> Result<Vec<OrganizationRecord>, StoreError> {
        self.on_pool(async |connection| rows(connection, person, (None, after), limit).await)
            .await
    }

    async fn organization_of(
        &self,
        person: AccountId,
        organization: AccountId,
    ) -> Result<Option<OrganizationRecord>, StoreError> {
        let only = (Some(organization), None);
        let mut found = self
            .on_pool(async |connection| rows(connection, person, only, 1).await)
            .await?;
        Ok(found.pop())
    }

    async fn rename_organization(
        &self,
        organization: AccountId,
        name: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let renamed = rename(&mut transaction, organization, name, audit).await;
            finish(transaction, renamed).await
        })
        .await
    }

    async fn members(
        &self,
        organization: AccountId,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<MemberRecord>, StoreError> {
        let page = (None, after);
        self.on_pool(async |connection| members::rows(connection, organization, page, limit).await)
            .await
    }

    async fn member(
        &self,
        organization: AccountId,
        member: Uuid,
    ) -> Result<Option<MemberRecord>, StoreError> {
        self.on_pool(async |connection| members::one(connection, organization, member).await)
            .await
    }

    async fn change_member(
        &self,
        organization: AccountId,
        member: Uuid,
        change: &MemberChange,
    ) -> Result<OrganizationChanged, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let changed = members::change(&mut transaction, organization, member, change).await;
            finish(transaction, changed).await
        })
        .await
    }

    async fn remove_member(
        &self,
        organization: AccountId,
        member: Uuid,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let removed = members::remove(&mut transaction, organization, member, audit).await;
            finish(transaction, removed).await
        })
        .await
    }

    async fn invite_member(
        &self,
        invitation: &NewMemberInvitation,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let invited = member_invitations::invite(&mut transaction, invitation, audit).await;
            finish(transaction, invited).await
        })
        .await
    }

    async fn member_invitations(
        &self,
        organization: AccountId,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<MemberInvitationRecord>, StoreError> {
        self.on_pool(async |connection| {
            member_invitations::open(connection, organization, after, limit).await
        })
        .await
    }

    async fn revoke_member_invitation(
        &self,
        organization: AccountId,
        invitation: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let revoked =
                member_invitations::revoke(&mut transaction, organization, invitation, audit).await;
            finish(transaction, revoked).await
        })
        .await
    }

    async fn accept_invitation(
        &self,
        acceptance: &Acceptance,
    ) -> Result<(OrganizationChanged, AccountId), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let accepted = member_invitations::accept(&mut transaction, acceptance).await;
            finish(transaction, accepted).await
        })
        .await
    }
}

async fn found(
    connection: &mut PgConnection,
    organization: &NewOrganization,
    founder: AccountId,
    entry: &AuditEntry,
) -> Result<OrganizationChanged, StoreError> {
    // Who founds several at once waits for the one before.
    sqlx::query_scalar!(
        "SELECT account_id FROM persons WHERE account_id = $1 FOR NO KEY UPDATE",
        founder.get()
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound { what: "the person" })?;
    let owned = sqlx::query_scalar!(
        r#"SELECT count(*) AS "owned!" FROM memberships
        WHERE person_id = $1 AND role = 'owner' AND ended_at IS NULL"#,
        founder.get()
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if owned >= MOST_OWNED {
        return Ok(OrganizationChanged::TooMany);
    }
    people::create_organization(connection, organization).await?;
    let owner = NewMember {
        organization: organization.account,
        person: founder,
        role: MemberRole::Owner,
        caps: Vec::new(),
        at: organization.at,
    };
    people::add_member(connection, &owner).await?;
    audit::append(connection, entry).await?;
    Ok(OrganizationChanged::Yes)
}

/// The person's organizations: one, or those after one.
async fn rows(
    connection: &mut PgConnection,
    person: AccountId,
    (only, after): (Option<AccountId>, Option<AccountId>),
    limit: u16,
) -> Result<Vec<OrganizationRecord>, StoreError> {
    let rows = sqlx::query!(
        "SELECT a.id, a.name, m.role, a.created_at
        FROM memberships m JOIN accounts a ON a.id = m.organization_id
        WHERE m.person_id = $1 AND m.ended_at IS NULL AND ($2::uuid IS NULL OR a.id = $2)
            AND ($3::uuid IS NULL OR a.id > $3)
        ORDER BY a.id LIMIT $4",
        person.get(),
        only.map(AccountId::get),
        after.map(AccountId::get),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let role = MemberRole::from_name(&row.role)
                .ok_or_else(|| Column::new("memberships", "role").corrupt(row.id))?;
            Ok(OrganizationRecord {
                account: AccountId::new(row.id),
                name: row.name,
                role,
                created_at: Timestamp::from(row.created_at),
            })
        })
        .collect()
}

async fn rename(
    connection: &mut PgConnection,
    organization: AccountId,
    name: &str,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let before = sqlx::query_scalar!(
        "SELECT name FROM accounts WHERE id = $1 AND kind = 'organization' FOR NO KEY UPDATE",
        organization.get()
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the organization",
    })?;
    sqlx::query!(
        "UPDATE accounts SET name = $2 WHERE id = $1",
        organization.get(),
        name
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    audit::append(connection, &entry.of_change("name", &before, name)).await
}

/// Locks an organization: its members and invitations change one after the other.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    organization: AccountId,
) -> Result<(), StoreError> {
    sqlx::query_scalar!(
        "SELECT account_id FROM organizations WHERE account_id = $1 FOR NO KEY UPDATE",
        organization.get()
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .map(drop)
    .ok_or(StoreError::NotFound {
        what: "the organization",
    })
}
