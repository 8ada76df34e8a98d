//! Client keys: new ones, revoked ones, used ones.

use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::{ModelAccess, NewKey};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connection::{failed, insert_failed};
use crate::convert::{LimitColumns, timestamptz};
use crate::people::{BudgetOwner, insert_caps};

/// Stores a key of `account`, for which `payer` pays.
pub(crate) async fn create(
    connection: &mut PgConnection,
    account: AccountId,
    payer: Option<AccountId>,
    key: &NewKey,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    insert(&mut transaction, account, payer, key, at).await?;
    transaction.commit().await.map_err(failed)
}

/// As [`create`], in a transaction that the caller has begun.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    account: AccountId,
    payer: Option<AccountId>,
    key: &NewKey,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (account_id, payer_id) = (account.get(), payer.unwrap_or(account).get());
    // A membership can't end before the key is there to be revoked with it.
    let is_known = sqlx::query_scalar!(
        r#"SELECT true AS "known!" FROM (
            SELECT FROM accounts WHERE id = $1 AND $1 = $2::uuid
            UNION ALL
            SELECT FROM (
                SELECT FROM memberships WHERE organization_id = $2 AND person_id = $1 AND ended_at IS NULL FOR SHARE
            ) AS member
        ) AS found"#,
        account_id,
        payer_id
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .is_some();
    if !is_known {
        return Err(StoreError::NotFound {
            what: "the key's account or its membership",
        });
    }
    let id = key.id.get();
    let limits = LimitColumns::from(key.limits);
    let addresses = key.addresses.texts();
    let models = match &key.models {
        ModelAccess::All => None,
        ModelAccess::Only(models) => Some(models.as_slice()),
    };
    sqlx::query!(
        "INSERT INTO api_keys (id, hash, preview, name, account_id, payer_id, requests_per_minute, tokens_per_minute,
            concurrent_requests, allowed_models, allowed_addresses, expires_at, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        id,
        key.hash.as_bytes().as_slice(),
        key.preview,
        key.name,
        account_id,
        payer_id,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        models,
        addresses.as_deref(),
        key.expires_at.map(timestamptz),
        timestamptz(at)
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "the key"))?;
    insert_caps(connection, BudgetOwner::Key(id), &key.caps).await
}

/// Revokes a key; it stays revoked since the first time.
pub(crate) async fn revoke(
    connection: &mut PgConnection,
    key: ApiKeyId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let revoked = sqlx::query!(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1",
        key.get(),
        timestamptz(at)
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    if revoked.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "the key" });
    }
    Ok(())
}

/// Notes when keys were last used. Replicas that note the same keys take them in the same order.
pub(crate) async fn used(
    connection: &mut PgConnection,
    used: &[(ApiKeyId, Timestamp)],
) -> Result<(), StoreError> {
    let (keys, times): (Vec<Uuid>, Vec<OffsetDateTime>) = used
        .iter()
        .map(|(key, at)| (key.get(), timestamptz(*at)))
        .unzip();
    sqlx::query!(
        "WITH used AS (
            SELECT id, max(at) AS at FROM unnest($1::uuid[], $2::timestamptz[]) AS used (id, at) GROUP BY id
        ), locked AS MATERIALIZED (
            SELECT api_keys.id, used.at FROM api_keys JOIN used ON used.id = api_keys.id
            ORDER BY api_keys.id FOR NO KEY UPDATE OF api_keys
        )
        UPDATE api_keys SET last_used_at = greatest(api_keys.last_used_at, locked.at)
        FROM locked WHERE api_keys.id = locked.id",
        &keys,
        &times
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
