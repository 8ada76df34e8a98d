//! Client keys.

use std::sync::Arc;

use airouter_auth::{AddressAccess, KeyHash};
use airouter_billing::event::Payment;
use airouter_billing::{
    AccountId, ApiKeyId, BudgetId, BudgetRef, Period, PlanVersionId, Quantity, Timestamp,
};
use airouter_store::StoreError;
use airouter_store::clients::{Access, KeySnapshot, ModelAccess, NewKey};
use sqlx::SqliteConnection;

use crate::connection::{begin, failed, insert_failed};
use crate::convert::{Column, LimitColumns, hex};
use crate::open::SqliteStore;
use crate::people::{BudgetOwner, insert_caps};
use crate::plans;

struct KeyRow {
    id: Vec<u8>,
    name: String,
    preview: String,
    account_id: Vec<u8>,
    payer_id: Vec<u8>,
    mode: String,
    plan_version: Option<i64>,
    key_requests: Option<i64>,
    key_tokens: Option<i64>,
    key_concurrent: Option<i64>,
    payer_requests: Option<i64>,
    payer_tokens: Option<i64>,
    payer_concurrent: Option<i64>,
    allowed_models: Option<String>,
    allowed_addresses: Option<String>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    disabled: i64,
    member_id: Option<Vec<u8>>,
}

/// The key with this hash, with all that a request needs to know.
pub(crate) async fn by_hash(
    store: &SqliteStore,
    hash: &KeyHash,
) -> Result<Option<KeySnapshot>, StoreError> {
    let hash = hash.as_bytes().as_slice();
    let row = sqlx::query_as!(
        KeyRow,
        r#"SELECT k.id, k.name, k.preview, k.account_id, k.payer_id, payer.mode,
            (SELECT max(v.id) FROM plan_versions v WHERE v.plan_id = payer.plan_id) AS "plan_version: i64",
            k.requests_per_minute AS key_requests, k.tokens_per_minute AS key_tokens,
            k.concurrent_requests AS key_concurrent,
            payer.requests_per_minute AS payer_requests, payer.tokens_per_minute AS payer_tokens,
            payer.concurrent_requests AS payer_concurrent,
            k.allowed_models, k.allowed_addresses, k.expires_at, k.revoked_at,
            (account.status <> 'active' OR payer.status <> 'active' OR coalesce(u.status, 'active') <> 'active'
                OR (k.payer_id <> k.account_id AND m.id IS NULL)) AS "disabled!: i64",
            m.id AS "member_id?"
        FROM api_keys k
        JOIN accounts account ON account.id = k.account_id
        JOIN accounts payer ON payer.id = k.payer_id
        LEFT JOIN persons p ON p.account_id = k.account_id
        LEFT JOIN users u ON u.id = p.user_id
        LEFT JOIN memberships m ON m.organization_id = k.payer_id AND m.person_id = k.account_id
            AND m.ended_at IS NULL
        WHERE k.hash = $1"#,
        hash
    )
    .fetch_optional(&store.readers)
    .await
    .map_err(failed)?;
    match row {
        Some(row) => snapshot(store, row).await.map(Some),
        None => Ok(None),
    }
}

async fn snapshot(store: &SqliteStore, row: KeyRow) -> Result<KeySnapshot, StoreError> {
    let column = |name| Column::new("api_keys", name);
    let key = ApiKeyId::new(column("id").uuid(&row.id)?);
    let payer = AccountId::new(column("payer_id").uuid(&row.payer_id)?);
    let payment = Payment::from_name(&row.mode)
        .ok_or_else(|| Column::new("accounts", "mode").corrupt(payer))?;
    let version = row
        .plan_version
        .ok_or_else(|| Column::new("accounts", "plan_id").corrupt(payer))?;
    let models = models(row.allowed_models.as_deref(), key)?;
    let addresses = addresses(row.allowed_addresses.as_deref(), key)?;
    let access = if row.revoked_at.is_some() {
        Access::Revoked
    } else if row.disabled != 0 {
        Access::Disabled
    } else {
        Access::Granted
    };
    Ok(KeySnapshot {
        key,
        name: row.name,
        preview: row.preview,
        account: AccountId::new(column("account_id").uuid(&row.account_id)?),
        payer,
        payment,
        plan: plans::plan(store, PlanVersionId::new(version)).await?,
        budgets: chain(store, key, row.member_id, payer, payment).await?,
        key_limits: LimitColumns {
            requests_per_minute: row.key_requests,
            tokens_per_minute: row.key_tokens,
            concurrent_requests: row.key_concurrent,
        }
        .into(),
        account_limits: LimitColumns {
            requests_per_minute: row.payer_requests,
            tokens_per_minute: row.payer_tokens,
            concurrent_requests: row.payer_concurrent,
        }
        .into(),
        models,
        addresses,
        access,
        expires_at: row.expires_at.map(Timestamp::from_micros),
    })
}

/// `allowed_models` of a key.
pub(crate) fn models(column: Option<&str>, key: ApiKeyId) -> Result<ModelAccess, StoreError> {
    let Some(text) = column else {
        return Ok(ModelAccess::All);
    };
    serde_json::from_str(text)
        .map(ModelAccess::Only)
        .map_err(|_| Column::new("api_keys", "allowed_models").corrupt(key))
}

/// As [`models`] reads it.
pub(crate) fn models_column(models: &ModelAccess) -> Option<String> {
    match models {
        ModelAccess::All => None,
        ModelAccess::Only(models) => Some(serde_json::json!(models).to_string()),
    }
}

/// `allowed_addresses` of a key.
pub(crate) fn addresses(column: Option<&str>, key: ApiKeyId) -> Result<AddressAccess, StoreError> {
    let texts: Option<Vec<String>> = column
        .map(serde_json::from_str)
        .transpose()
        .map_err(|_| Column::new("api_keys", "allowed_addresses").corrupt(key))?;
    Ok(AddressAccess::from_stored(texts.as_deref()))
}

/// As [`addresses`] reads it.
pub(crate) fn addresses_column(addresses: &AddressAccess) -> Option<String> {
    let texts = addresses.texts()?;
    Some(serde_json::json!(texts).to_string())
}

/// Every budget that a request of the key spends from: key, member, tier and account, balance.
async fn chain(
    store: &SqliteStore,
    key: ApiKeyId,
    member: Option<Vec<u8>>,
    payer: AccountId,
    payment: Payment,
) -> Result<Arc<[BudgetRef]>, StoreError> {
    let (key_id, payer_id) = (key.get(), payer.get());
    let rows = sqlx::query!(
        r#"SELECT id, quantity, period FROM budgets
        WHERE cap IS NOT NULL AND (
            (owner_id = $1 AND owner_kind = 'key')
            OR (owner_id = $2 AND owner_kind = 'member')
            OR (owner_id = $3 AND owner_kind IN ('tier', 'account')))
        ORDER BY CASE owner_kind WHEN 'key' THEN 0 WHEN 'member' THEN 1 WHEN 'tier' THEN 2 ELSE 3 END, id"#,
        key_id,
        member,
        payer_id
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("budgets", name);
    let mut chain = Vec::with_capacity(rows.len() + 1);
    for row in rows {
        let id = column("id").uuid(&row.id)?;
        chain.push(BudgetRef {
            id: BudgetId::Cap(id),
            quantity: Quantity::from_name(&row.quantity)
                .ok_or_else(|| column("quantity").corrupt(id))?,
            period: Period::from_name(&row.period).ok_or_else(|| column("period").corrupt(id))?,
        });
    }
    if payment == Payment::Prepaid {
        chain.push(BudgetRef {
            id: BudgetId::Balance(payer),
            quantity: Quantity::Nanos,
            period: Period::None,
        });
    }
    Ok(chain.into())
}

/// Stores a key of `account`, for which `payer` pays.
pub(crate) async fn create(
    store: &SqliteStore,
    account: AccountId,
    payer: Option<AccountId>,
    key: &NewKey,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = begin(&mut writer).await?;
    insert(&mut transaction, account, payer, key, at).await?;
    transaction.commit().await.map_err(failed)
}

/// As [`create`], in a transaction that the caller has begun.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    account: AccountId,
    payer: Option<AccountId>,
    key: &NewKey,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (account_id, payer_id) = (account.get(), payer.unwrap_or(account).get());
    let known = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!: i64" FROM accounts WHERE id IN ($1, $2) AND (
            $1 = $2 OR EXISTS (
                SELECT 1 FROM memberships WHERE organization_id = $2 AND person_id = $1 AND ended_at IS NULL))"#,
        account_id,
        payer_id
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if known == 0 {
        return Err(StoreError::NotFound {
            what: "the key's account or its membership",
        });
    }
    let id = key.id.get();
    let hash = key.hash.as_bytes().as_slice();
    let limits = LimitColumns::from(key.limits);
    let models = models_column(&key.models);
    let addresses = addresses_column(&key.addresses);
    let expires_at = key.expires_at.map(Timestamp::as_micros);
    let created_at = at.as_micros();
    sqlx::query!(
        "INSERT INTO api_keys (id, hash, preview, name, account_id, payer_id, requests_per_minute, tokens_per_minute,
            concurrent_requests, allowed_models, allowed_addresses, expires_at, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        id,
        hash,
        key.preview,
        key.name,
        account_id,
        payer_id,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        models,
        addresses,
        expires_at,
        created_at
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "the key"))?;
    insert_caps(connection, BudgetOwner::Key(id), &key.caps).await
}

/// Revokes a key; it stays revoked since the first time.
pub(crate) async fn revoke(
    store: &SqliteStore,
    key: ApiKeyId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (id, at) = (key.get(), at.as_micros());
    let mut writer = store.writer().await?;
    let revoked = sqlx::query!(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1",
        id,
        at
    )
    .execute(&mut *writer)
    .await
    .map_err(failed)?;
    if revoked.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "the key" });
    }
    Ok(())
}

/// Notes when keys were last used.
pub(crate) async fn used(
    store: &SqliteStore,
    used: &[(ApiKeyId, Timestamp)],
) -> Result<(), StoreError> {
    if used.is_empty() {
        return Ok(());
    }
    let rows: Vec<(String, Timestamp)> =
        used.iter().map(|(key, at)| (hex(key.get()), *at)).collect();
    let rows = serde_json::json!(rows).to_string();
    let mut writer = store.writer().await?;
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, 0), used.at)
        FROM (
            SELECT unhex(value ->> 0) AS id, max(value ->> 1) AS at FROM json_each($1) GROUP BY 1
        ) AS used
        WHERE api_keys.id = used.id",
        rows
    )
    .execute(&mut *writer)
    .await
    .map_err(failed)?;
    Ok(())
}
