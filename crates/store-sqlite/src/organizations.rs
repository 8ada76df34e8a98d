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
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{audit, member_invitations, members, people};

#[async_trait]
impl Organizations for SqliteStore {
    async fn found(
        &self,
        organization: &NewOrganization,
        founder: AccountId,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let founded = found(&mut transaction, organization, founder, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(founded)
    }

    async fn organizations_of(
        &self,
        person: AccountId,
        after: Option<AccountId>,
        limit: u16,
    ) -> Result<Vec<OrganizationRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        rows(&mut reader, person, (None, after), limit).await
    }

    async fn organization_of(
        &self,
        person: AccountId,
        organization: AccountId,
    ) -> Result<Option<OrganizationRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        let mut found = rows(&mut reader, person, (Some(organization), None), 1).await?;
        Ok(found.pop())
    }

    async fn rename_organization(
        &self,
        organization: AccountId,
        name: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        rename(&mut transaction, organization, name, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn members(
        &self,
        organization: AccountId,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<MemberRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        members::rows(&mut reader, organization, (None, after), limit).await
    }

    async fn member(
        &self,
        organization: AccountId,
        member: Uuid,
    ) -> Result<Option<MemberRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        members::one(&mut reader, organization, member).await
    }

    async fn change_member(
        &self,
        organization: AccountId,
        member: Uuid,
        change: &MemberChange,
    ) -> Result<OrganizationChanged, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let changed = members::change(&mut transaction, organization, member, change).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(changed)
    }

    async fn remove_member(
        &self,
        organization: AccountId,
        member: Uuid,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let removed = members::remove(&mut transaction, organization, member, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(removed)
    }

    async fn invite_member(
        &self,
        invitation: &NewMemberInvitation,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let invited = member_invitations::invite(&mut transaction, invitation, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(invited)
    }

    async fn member_invitations(
        &self,
        organization: AccountId,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<MemberInvitationRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        member_invitations::open(&mut reader, organization, after, limit).await
    }

    async fn revoke_member_invitation(
        &self,
        organization: AccountId,
        invitation: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        member_invitations::revoke(&mut transaction, organization, invitation, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn accept_invitation(
        &self,
        acceptance: &Acceptance,
    ) -> Result<(OrganizationChanged, AccountId), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let accepted = member_invitations::accept(&mut transaction, acceptance).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(accepted)
    }
}

async fn found(
    connection: &mut SqliteConnection,
    organization: &NewOrganization,
    founder: AccountId,
    entry: &AuditEntry,
) -> Result<OrganizationChanged, StoreError> {
    let person = founder.get();
    let owned = sqlx::query_scalar!(
        r#"SELECT count(*) AS "owned!: i64" FROM memberships
        WHERE person_id = $1 AND role = 'owner' AND ended_at IS NULL"#,
        person
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if owned >= MOST_OWNED {
        return Ok(OrganizationChanged::TooMany);
    }
    people::insert_organization(connection, organization).await?;
    let owner = NewMember {
        organization: organization.account,
        person: founder,
        role: MemberRole::Owner,
        caps: Vec::new(),
        at: organization.at,
    };
    people::insert_member(connection, &owner).await?;
    audit::append(connection, entry).await?;
    Ok(OrganizationChanged::Yes)
}

/// The person's organizations: one, or those after one.
async fn rows(
    connection: &mut SqliteConnection,
    person: AccountId,
    (only, after): (Option<AccountId>, Option<AccountId>),
    limit: u16,
) -> Result<Vec<OrganizationRecord>, StoreError> {
    let person = person.get();
    let (only, after) = (only.map(AccountId::get), after.map(AccountId::get));
    let limit = i64::from(limit);
    let rows = sqlx::query!(
        "SELECT a.id, a.name, m.role, a.created_at
        FROM memberships m JOIN accounts a ON a.id = m.organization_id
        WHERE m.person_id = $1 AND m.ended_at IS NULL AND ($2 IS NULL OR a.id = $2) AND ($3 IS NULL OR a.id > $3)
        ORDER BY a.id LIMIT $4",
        person,
        only,
        after,
        limit
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let account = AccountId::new(Column::new("accounts", "id").uuid(&row.id)?);
            let role = MemberRole::from_name(&row.role)
                .ok_or_else(|| Column::new("memberships", "role").corrupt(account))?;
            Ok(OrganizationRecord {
                account,
                name: row.name,
                role,
                created_at: Timestamp::from_micros(row.created_at),
            })
        })
        .collect()
}

async fn rename(
    connection: &mut SqliteConnection,
    organization: AccountId,
    name: &str,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let id = organization.get();
    let before = sqlx::query_scalar!(
        "SELECT name FROM accounts WHERE id = $1 AND kind = 'organization'",
        id
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the organization",
    })?;
    sqlx::query!("UPDATE accounts SET name = $2 WHERE id = $1", id, name)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    audit::append(connection, &entry.of_change("name", &before, name)).await
}
