//! Adds requests to the sums that are kept.
//!
//! Transactions of the ledger take their numbers in one order and commit in another: one with a lower number may still
//! come. Whoever books requests has locked a row ([`crate::books`]), and so has its id of a transaction (`xid`), before it
//! takes a number. So all numbers up to the highest that is seen are there for good once every `xid` that was given out
//! before is done with.

use std::sync::Mutex;

use airouter_store::StoreError;
use airouter_store::rollups::{Folded, Rollups};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::changes;
use crate::connection::failed;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

/// No more are added in one transaction: it takes a second or so.
const MOST_EVENTS: u32 = 10_000;

/// How far numbers are known to be there for good. It means nothing in another life of the server.
#[derive(Clone, Debug)]
struct Horizon {
    life: String,
    /// All numbers up to this one are.
    settled: i64,
    /// All numbers up to this one will be, once every `xid` below `xid` is done with.
    candidate: i64,
    xid: i64,
}

/// What is known of it, for the next step.
#[derive(Debug, Default)]
pub(crate) struct KnownHorizon(Mutex<Option<Horizon>>);

impl KnownHorizon {
    fn get(&self) -> Option<Horizon> {
        self.0.lock().ok()?.clone()
    }

    fn set(&self, horizon: Horizon) {
        if let Ok(mut known) = self.0.lock() {
            *known = Some(horizon);
        }
    }
}

#[async_trait]
impl Rollups for PostgresStore {
    async fn fold_usage(&self, most: u32) -> Result<Folded, StoreError> {
        let most = most.clamp(1, MOST_EVENTS);
        self.on_pool(async |connection| {
            let horizon = horizon(connection, self.rollup_horizon.get()).await?;
            self.rollup_horizon.set(horizon.clone());
            let mut transaction = begin(connection).await?;
            let folded = fold(&mut transaction, &horizon, most).await;
            finish(transaction, folded).await
        })
        .await
    }
}

/// How far numbers are there for good by now; and the next candidate, so that a later step has one that has aged.
async fn horizon(
    connection: &mut PgConnection,
    known: Option<Horizon>,
) -> Result<Horizon, StoreError> {
    let life = changes::life(connection).await?;
    let known = match known.filter(|known| known.life == life) {
        Some(known) if known.settled < known.candidate => known,
        known => candidate(connection, life, known.map_or(0, |known| known.settled)).await?,
    };
    let oldest_running = sqlx::query_scalar!(
        r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "xmin!""#
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if oldest_running < known.xid {
        return Ok(known);
    }
    candidate(connection, known.life, known.candidate).await
}

/// The highest number there is, where all up to `settled` are there for good. The statement's own `xid` is given out after it
/// has begun to see: it is above those of all who have taken a number that is lower.
async fn candidate(
    connection: &mut PgConnection,
    life: String,
    settled: i64,
) -> Result<Horizon, StoreError> {
    let row = sqlx::query!(
        r#"SELECT coalesce(max(id), 0) AS "newest!", pg_current_xact_id()::text::bigint AS "xid!" FROM ledger_transactions"#
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(Horizon {
        life,
        settled,
        candidate: row.newest,
        xid: row.xid,
    })
}

async fn fold(
    connection: &mut PgConnection,
    horizon: &Horizon,
    most: u32,
) -> Result<Folded, StoreError> {
    let state = sqlx::query!(
        r#"SELECT folded_through, (SELECT coalesce(max(id), 0) FROM ledger_transactions) AS "newest!"
        FROM usage_rollup_state FOR UPDATE SKIP LOCKED"#
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let Some(state) = state else {
        return Ok(Folded::Waiting);
    };
    let through = if state.folded_through < horizon.settled {
        let through = step(connection, state.folded_through, horizon.settled, most).await?;
        // So many sums are made at once.
        sqlx::query!("SELECT set_config('work_mem', '64MB', true) AS setting")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        sqlx::query_file!("src/usage/fold.sql", state.folded_through, through)
            .execute(connection)
            .await
            .map_err(failed)?;
        through
    } else {
        state.folded_through
    };
    Ok(if through < horizon.settled {
        Folded::More
    } else if through < state.newest {
        Folded::Waiting
    } else {
        Folded::Done
    })
}

/// The transaction through which there are about so many requests after `from`, and no more transactions than up to `to`.
async fn step(
    connection: &mut PgConnection,
    from: i64,
    to: i64,
    most: u32,
) -> Result<i64, StoreError> {
    let beyond = sqlx::query!(
        r#"SELECT min(transaction_id) AS first, (
            SELECT transaction_id FROM request_logs WHERE transaction_id > $1 AND transaction_id <= $2
            ORDER BY transaction_id OFFSET $3 LIMIT 1
        ) AS beyond
        FROM request_logs WHERE transaction_id > $1 AND transaction_id <= $2"#,
        from,
        to,
        i64::from(most)
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(match (beyond.first, beyond.beyond) {
        (Some(first), Some(beyond)) => beyond.saturating_sub(1).max(first),
        _ => to,
    })
}
