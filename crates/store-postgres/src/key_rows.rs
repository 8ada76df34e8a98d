//! Reading client keys with their limits and what is left of these.

use airouter_auth::AddressAccess;
use airouter_billing::{AccountId, ApiKeyId, Period, Quantity, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::ModelAccess;
use airouter_store::key_admin::{KeyBudget, KeyHolder, KeyLeft, KeyQuery, KeyRecord, KeySettings};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, LimitColumns, timestamptz};

/// A page of keys.
pub(crate) async fn page(
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
    query: &KeyQuery,
    only: Option<ApiKeyId>,
) -> Result<Vec<KeyRecord>, StoreError> {
    let (owner, payer) = query.holder.columns();
    let rows = sqlx::query!(
        "SELECT id, name, preview, account_id, payer_id, requests_per_minute, tokens_per_minute, concurrent_requests,
            allowed_models, allowed_addresses, created_at, expires_at, revoked_at, last_used_at
        FROM api_keys
        WHERE (account_id = $1 OR payer_id = $2) AND ($3::uuid IS NULL OR id = $3) AND ($4::uuid IS NULL OR id > $4)
        ORDER BY id LIMIT $5",
        owner.map(AccountId::get),
        payer.map(AccountId::get),
        only.map(ApiKeyId::get),
        query.after.map(ApiKeyId::get),
        i64::from(query.limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|row| KeyRecord {
            id: ApiKeyId::new(row.id),
            preview: row.preview,
            owner: AccountId::new(row.account_id),
            payer: AccountId::new(row.payer_id),
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
                models: row
                    .allowed_models
                    .map_or(ModelAccess::All, ModelAccess::Only),
                addresses: AddressAccess::from_stored(row.allowed_addresses.as_deref()),
                expires_at: row.expires_at.map(Timestamp::from),
            },
            left: KeyLeft::default(),
            created_at: Timestamp::from(row.created_at),
            revoked_at: row.revoked_at.map(Timestamp::from),
            last_used_at: row.last_used_at.map(Timestamp::from),
        })
        .collect())
}

/// The budgets that are in force of these keys, older ones first.
async fn budgets(
    connection: &mut PgConnection,
    keys: &[Uuid],
    now: Timestamp,
) -> Result<Vec<(Uuid, KeyBudget)>, StoreError> {
    let names: Vec<String> = Period::ALL
        .iter()
        .map(|period| period.name().to_owned())
        .collect();
    let starts: Vec<OffsetDateTime> = Period::ALL
        .iter()
        .map(|period| timestamptz(period.start(now)))
        .collect();
    let rows = sqlx::query!(
        r#"SELECT b.id, b.owner_id, b.quantity, b.period, b.cap AS "cap!",
            coalesce(p.spent + p.spent_before, 0) AS "used!"
        FROM budgets b
        JOIN unnest($2::text[], $3::timestamptz[]) AS present (period, period_start) ON present.period = b.period
        LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period_start = present.period_start
        WHERE b.owner_kind = 'key' AND b.owner_id = ANY ($1) AND b.cap IS NOT NULL
        ORDER BY b.id"#,
        keys,
        &names,
        &starts
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("budgets", name);
    rows.into_iter()
        .map(|row| {
            let quantity = Quantity::from_name(&row.quantity)
                .ok_or_else(|| column("quantity").corrupt(row.id))?;
            let period =
                Period::from_name(&row.period).ok_or_else(|| column("period").corrupt(row.id))?;
            let budget = KeyBudget {
                quantity,
                period,
                cap: row.cap,
                used: row.used,
            };
            Ok((row.owner_id, budget))
        })
        .collect()
}
