//! Caps of somebody who may have spent before.

use airouter_billing::{Quantity, Timestamp};
use airouter_store::StoreError;
use airouter_store::key_admin::CapChange;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::timestamptz;
use crate::people::BudgetOwner;

/// Whose caps, and with which keys that one spends.
pub(crate) struct Spender {
    pub(crate) owner: BudgetOwner,
    pub(crate) keys: Vec<Uuid>,
}

/// Sets a cap, or lifts it.
pub(crate) async fn set(
    connection: &mut PgConnection,
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
    let budget = sqlx::query_scalar!(
        "INSERT INTO budgets (id, owner_kind, owner_id, quantity, period, cap) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (owner_id, owner_kind, quantity, period) DO UPDATE SET cap = excluded.cap
        RETURNING id",
        Uuid::now_v7(),
        kind,
        owner,
        quantity,
        period,
        cap
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    count_what_was_before(connection, spender, budget, change, now).await
}

/// What was spent in the present period without this budget counts too.
async fn count_what_was_before(
    connection: &mut PgConnection,
    spender: &Spender,
    budget: Uuid,
    change: CapChange,
    now: Timestamp,
) -> Result<(), StoreError> {
    let start = timestamptz(change.period.start(now));
    // Locks it: what is spent from it and what was spent in all are then of the same moment.
    sqlx::query!(
        "INSERT INTO budget_periods (budget_id, period_start) VALUES ($1, $2)
        ON CONFLICT (budget_id, period_start) DO UPDATE SET spent_before = budget_periods.spent_before",
        budget,
        start
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    // None finishes before it is admitted: the index goes by the end.
    sqlx::query!(
        "UPDATE budget_periods SET spent_before = greatest(0, (
            SELECT coalesce(sum(CASE WHEN $4 THEN requests ELSE charged_nanos END), 0)::bigint
            FROM (
                SELECT charged_nanos, (loss_reason IS NULL)::integer AS requests FROM request_logs
                WHERE api_key_id = ANY ($3) AND finished_at >= $2 AND admitted_at >= $2
                UNION ALL
                SELECT charged_nanos, (loss_reason IS NULL)::integer FROM request_corrections
                WHERE api_key_id = ANY ($3) AND finished_at >= $2 AND admitted_at >= $2
            ) AS charged) - spent)
        WHERE budget_id = $1 AND period_start = $2",
        budget,
        start,
        &spender.keys,
        change.quantity == Quantity::Requests
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
