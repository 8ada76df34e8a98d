//! Client keys as their owners and the operator see and change them.

use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::client_admin::Changed;
use airouter_store::clients::NewKey;
use airouter_store::key_admin::{KeyAdmin, KeyChange, KeyHolder, KeyQuery, KeyRecord, KeySettings};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::caps::{self, Spender};
use crate::connection::{begin, failed};
use crate::convert::{LimitColumns, counted};
use crate::open::SqliteStore;
use crate::people::BudgetOwner;
use crate::{audit, key_rows, keys};

#[async_trait]
impl KeyAdmin for SqliteStore {
    async fn keys_of(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        key_rows::page(&mut reader, query).await
    }

    async fn key_of(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        now: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        key_rows::one(&mut reader, holder, key, now).await
    }

    async fn live_keys_of(&self, account: AccountId) -> Result<u64, StoreError> {
        let owner = account.get();
        let live = sqlx::query_scalar!(
            r#"SELECT count(*) AS "live!: i64" FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL"#,
            owner
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        Ok(counted(live))
    }

    async fn issue_key(
        &self,
        account: AccountId,
        payer: Option<AccountId>,
        key: &NewKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        keys::insert(&mut transaction, account, payer, key, audit.at).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn change_key(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        change: &KeyChange,
    ) -> Result<Changed, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let now = change.audit.at;
        let found = key_rows::one(&mut transaction, holder, key, now)
            .await?
            .ok_or(StoreError::NotFound { what: "the key" })?;
        if found.settings != change.expected {
            return Ok(Changed::Conflict);
        }
        set(&mut transaction, key, &change.settings).await?;
        let spender = Spender {
            owner: BudgetOwner::Key(key.get()),
            keys: vec![key.get()],
        };
        for cap in change.settings.cap_changes(&change.expected) {
            caps::set(&mut transaction, &spender, cap, now).await?;
        }
        audit::append(&mut transaction, &change.audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Changed::Yes)
    }

    async fn revoke_key_of(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let found = key_rows::one(&mut transaction, holder, key, audit.at)
            .await?
            .ok_or(StoreError::NotFound { what: "the key" })?;
        if found.revoked_at.is_some() {
            return Ok(());
        }
        let (id, at) = (key.get(), audit.at.as_micros());
        sqlx::query!("UPDATE api_keys SET revoked_at = $2 WHERE id = $1", id, at)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }
}

async fn set(
    connection: &mut SqliteConnection,
    key: ApiKeyId,
    settings: &KeySettings,
) -> Result<(), StoreError> {
    let id = key.get();
    let limits = LimitColumns::from(settings.limits);
    let models = keys::models_column(&settings.models);
    let addresses = keys::addresses_column(&settings.addresses);
    let expires_at = settings.expires_at.map(Timestamp::as_micros);
    sqlx::query!(
        "UPDATE api_keys SET name = $2, requests_per_minute = $3, tokens_per_minute = $4, concurrent_requests = $5,
            allowed_models = $6, allowed_addresses = $7, expires_at = $8
        WHERE id = $1",
        id,
        settings.name,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        models,
        addresses,
        expires_at
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
