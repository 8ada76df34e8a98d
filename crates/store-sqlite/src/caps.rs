//! Caps of somebody who may have spent before.

use airouter_billing::{Quantity, Timestamp};
use airouter_store::StoreError;
use airouter_store::key_admin::CapChange;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::hex;
use crate::people::BudgetOwner;

/// Whose caps, and with which keys that one spends.
pub(crate) struct Spender {
    pub(crate) owner: BudgetOwner,
    pub(crate) keys: Vec<Uuid>,
}

/// Sets a cap, or lifts it.
pub(crate) async fn set(
    connection: &mut SqliteConnection,
    spender: &Spender,
    change: CapChange,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (kind, owner) = spender.owner.columns();
    let (quantity, period) = (change.quantity.name(), change.period.name());
    let Some(cap) = change.cap else {
        return sqlx::query!(
            "UPDATE budgets SET cap = NULL
            WHERE owner_kind = $1 AND owner_id = $2 AND quantity = $3 AND period = $4",
            kind,
            owner,
            quantity,
            period
        )
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed);
    };
    let new = Uuid::now_v7();
    sqlx::query!(
        "INSERT INTO budgets (id, owner_kind, owner_id, quantity, period, cap) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (owner_id, owner_kind, quantity, period) DO UPDATE SET cap = excluded.cap",
        new,
        kind,
        owner,
        quantity,
        period,
        cap
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let start = change.period.start(now);
    let spent = spent(connection, spender, change.quantity, start).await?;
    let start = start.as_micros();
    sqlx::query!(
        "INSERT INTO budget_periods (budget_id, period_start, spent_before)
        SELECT id, $5, $6 FROM budgets
        WHERE owner_kind = $1 AND owner_id = $2 AND quantity = $3 AND period = $4
        ON CONFLICT (budget_id, period_start) DO UPDATE
        SET spent_before = max(0, excluded.spent_before - budget_periods.spent)",
        kind,
        owner,
        quantity,
        period,
        start,
        spent
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// All that was spent with these keys since then, from whichever budgets.
async fn spent(
    connection: &mut SqliteConnection,
    spender: &Spender,
    quantity: Quantity,
    start: Timestamp,
) -> Result<i64, StoreError> {
    let keys: Vec<String> = spender.keys.iter().map(|key| hex(*key)).collect();
    let keys = serde_json::json!(keys).to_string();
    let start = start.as_micros();
    let are_requests = quantity == Quantity::Requests;
    // None finishes before it is admitted: the index goes by the end.
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(CASE WHEN $3 THEN requests ELSE charged_nanos END), 0) AS "spent!: i64"
        FROM (
            SELECT charged_nanos, loss_reason IS NULL AS requests FROM request_logs
            WHERE api_key_id IN (SELECT unhex(value) FROM json_each($1)) AND finished_at >= $2 AND admitted_at >= $2
            UNION ALL
            SELECT charged_nanos, loss_reason IS NULL FROM request_corrections
            WHERE api_key_id IN (SELECT unhex(value) FROM json_each($1)) AND finished_at >= $2 AND admitted_at >= $2
        ) AS charged"#,
        keys,
        start,
        are_requests
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}
