//! Client keys as their owners and the operator see and change them.

use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::client_admin::Changed;
use airouter_store::clients::{ModelAccess, NewKey};
use airouter_store::key_admin::{KeyAdmin, KeyChange, KeyHolder, KeyQuery, KeyRecord, KeySettings};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::caps::{self, Spender};
use crate::connection::failed;
use crate::convert::{LimitColumns, counted, timestamptz};
use crate::dedicated::{begin, finish};
use crate::key_rows;
use crate::open::PostgresStore;
use crate::people::BudgetOwner;
use crate::{audit, keys};

#[async_trait]
impl KeyAdmin for PostgresStore {
    async fn keys_of(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, StoreError> {
        self.on_pool(async |connection| key_rows::page(connection, query).await)
            .await
    }

    async fn key_of(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        now: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        self.on_pool(async |connection| key_rows::one(connection, holder, key, now).await)
            .await
    }

    async fn live_keys_of(&self, account: AccountId) -> Result<u64, StoreError> {
        let live = self
            .on_pool(async |connection| {
                sqlx::query_scalar!(
                    r#"SELECT count(*) AS "live!" FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL"#,
                    account.get()
                )
                .fetch_one(connection)
                .await
                .map_err(failed)
            })
            .await?;
        Ok(counted(live))
    }

    async fn issue_key(
        &self,
        account: AccountId,
        payer: Option<AccountId>,
        key: &NewKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let issued = issue(&mut transaction, account, payer, key, audit).await;
            finish(transaction, issued).await
        })
        .await
    }

    async fn change_key(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        change: &KeyChange,
    ) -> Result<Changed, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let changed = change_key(&mut transaction, holder, key, change).await;
            finish(transaction, changed).await
        })
        .await
    }

    async fn revoke_key_of(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let revoked = revoke(&mut transaction, holder, key, audit).await;
            finish(transaction, revoked).await
        })
        .await
    }
}

async fn issue(
    connection: &mut PgConnection,
    account: AccountId,
    payer: Option<AccountId>,
    key: &NewKey,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    keys::create(connection, account, payer, key, entry.at).await?;
    audit::append(connection, entry).await
}

/// Locks the key, its budgets and their periods, in this order.
async fn change_key(
    connection: &mut PgConnection,
    holder: KeyHolder,
    key: ApiKeyId,
    change: &KeyChange,
) -> Result<Changed, StoreError> {
    lock(connection, holder, key).await?;
    let now = change.audit.at;
    let found = key_rows::one(connection, holder, key, now).await?;
    if found.map(|found| found.settings).as_ref() != Some(&change.expected) {
        return Ok(Changed::Conflict);
    }
    set(connection, key, &change.settings).await?;
    let spender = Spender {
        owner: BudgetOwner::Key(key.get()),
        keys: vec![key.get()],
    };
    for cap in change.settings.cap_changes(&change.expected) {
        caps::set(connection, &spender, cap, now).await?;
    }
    audit::append(connection, &change.audit).await?;
    Ok(Changed::Yes)
}

async fn lock(
    connection: &mut PgConnection,
    holder: KeyHolder,
    key: ApiKeyId,
) -> Result<(), StoreError> {
    let (owner, payer) = holder.columns();
    sqlx::query_scalar!(
        "SELECT id FROM api_keys WHERE id = $1 AND (account_id = $2 OR payer_id = $3) FOR NO KEY UPDATE",
        key.get(),
        owner.map(AccountId::get),
        payer.map(AccountId::get)
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .map(drop)
    .ok_or(StoreError::NotFound { what: "the key" })
}

async fn set(
    connection: &mut PgConnection,
    key: ApiKeyId,
    settings: &KeySettings,
) -> Result<(), StoreError> {
    let limits = LimitColumns::from(settings.limits);
    let addresses = settings.addresses.texts();
    let models = match &settings.models {
        ModelAccess::All => None,
        ModelAccess::Only(models) => Some(models.as_slice()),
    };
    sqlx::query!(
        "UPDATE api_keys SET name = $2, requests_per_minute = $3, tokens_per_minute = $4, concurrent_requests = $5,
            allowed_models = $6, allowed_addresses = $7, expires_at = $8
        WHERE id = $1",
        key.get(),
        settings.name,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        models,
        addresses.as_deref(),
        settings.expires_at.map(timestamptz)
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn revoke(
    connection: &mut PgConnection,
    holder: KeyHolder,
    key: ApiKeyId,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    lock(connection, holder, key).await?;
    let revoked = sqlx::query!(
        "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
        key.get(),
        timestamptz(entry.at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if revoked.rows_affected() == 0 {
        return Ok(());
    }
    audit::append(connection, entry).await
}
