//! Reading client keys with their limits and what is left of these.

use airouter_billing::{AccountId, ApiKeyId, Period, Quantity, Timestamp};
use airouter_store::StoreError;
use airouter_store::key_admin::{KeyBudget, KeyHolder, KeyLeft, KeyQuery, KeyRecord, KeySettings};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, LimitColumns, hex};
use crate::keys;

/// A page of keys.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    query: &KeyQuery,
) -> Result<Vec<KeyRecord>, StoreError> {
    let mut keys = rows(connection, query, None).await?;
    let ids: Vec<Uuid> = keys.iter().map(|key| key.id.get()).collect();
    for (id, budget) in budgets(connection, &ids, query.now).await? {
        // They are in the order of their ids.
        if let Ok(position) = keys.binary_search_by_key(&id, |key| key.id.get()) {
            keys[position].note(budget);
        }
    }
    Ok(keys)
}

/// One of the holder's keys.
pub(crate) async fn one(
    connection: &mut SqliteConnection,
    holder: KeyHolder,
    key: ApiKeyId,
    now: Timestamp,
) -> Result<Option<KeyRecord>, StoreError> {
    let query = KeyQuery {
        holder,
        after: None,
        limit: 1,
        now,
    };
    let Some(mut found) = rows(connection, &query, Some(key)).await?.pop() else {
        return Ok(None);
    };
    for (_, budget) in budgets(connection, &[key.get()], now).await? {
        found.note(budget);
    }
    Ok(Some(found))
}

async fn rows(
    connection: &mut SqliteConnection,
    query: &KeyQuery,
    only: Option<ApiKeyId>,
) -> Result<Vec<KeyRecord>, StoreError> {
    let (owner, payer) = query.holder.columns();
    let (owner, payer) = (owner.map(AccountId::get), payer.map(AccountId::get));
    let only = only.map(ApiKeyId::get);
    let after = query.after.map(ApiKeyId::get);
    let limit = i64::from(query.limit);
    let rows = sqlx::query!(
        "SELECT id, name, preview, account_id, payer_id, requests_per_minute, tokens_per_minute, concurrent_requests,
            allowed_models, allowed_addresses, created_at, expires_at, revoked_at, last_used_at
        FROM api_keys
        WHERE (account_id = $1 OR payer_id = $2) AND ($3 IS NULL OR id = $3) AND ($4 IS NULL OR id > $4)
        ORDER BY id LIMIT $5",
        owner,
        payer,
        only,
        after,
        limit
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("api_keys", name);
    rows.into_iter()
        .map(|row| {
            let id = ApiKeyId::new(column("id").uuid(&row.id)?);
            Ok(KeyRecord {
                id,
                preview: row.preview,
                owner: AccountId::new(column("account_id").uuid(&row.account_id)?),
                payer: AccountId::new(column("payer_id").uuid(&row.payer_id)?),
                settings: KeySettings {
                    name: row.name,
                    limits: LimitColumns {
                        requests_per_minute: row.requests_per_minute,
                        tokens_per_minute: row.tokens_per_minute,
                        concurrent_requests: row.concurrent_requests,
                    }
                    .into(),
                    spend_limit: None,
                    requests_per_day: None,
                    models: keys::models(row.allowed_models.as_deref(), id)?,
                    addresses: keys::addresses(row.allowed_addresses.as_deref(), id)?,
                    expires_at: row.expires_at.map(Timestamp::from_micros),
                },
                left: KeyLeft::default(),
                created_at: Timestamp::from_micros(row.created_at),
                revoked_at: row.revoked_at.map(Timestamp::from_micros),
                last_used_at: row.last_used_at.map(Timestamp::from_micros),
            })
        })
        .collect()
}

/// The budgets that are in force of these keys, older ones first.
async fn budgets(
    connection: &mut SqliteConnection,
    keys: &[Uuid],
    now: Timestamp,
) -> Result<Vec<(Uuid, KeyBudget)>, StoreError> {
    let keys: Vec<String> = keys.iter().map(|key| hex(*key)).collect();
    let keys = serde_json::json!(keys).to_string();
    let starts = Period::ALL.map(|period| (period.name(), period.start(now)));
    let starts = serde_json::json!(starts).to_string();
    let rows = sqlx::query!(
        r#"SELECT b.id, b.owner_id, b.quantity, b.period, b.cap AS "cap!: i64",
            coalesce(p.spent + p.spent_before, 0) AS "used!: i64"
        FROM budgets b
        JOIN json_each($2) AS present ON present.value ->> 0 = b.period
        LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period_start = present.value ->> 1
        WHERE b.owner_kind = 'key' AND b.owner_id IN (SELECT unhex(value) FROM json_each($1)) AND b.cap IS NOT NULL
        ORDER BY b.id"#,
        keys,
        starts
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("budgets", name);
    rows.into_iter()
        .map(|row| {
            let id = column("id").uuid(&row.id)?;
            let owner = column("owner_id").uuid(&row.owner_id)?;
            let quantity =
                Quantity::from_name(&row.quantity).ok_or_else(|| column("quantity").corrupt(id))?;
            let period =
                Period::from_name(&row.period).ok_or_else(|| column("period").corrupt(id))?;
            let budget = KeyBudget {
                quantity,
                period,
                cap: row.cap,
                used: row.used,
            };
            Ok((owner, budget))
        })
        .collect()
}
