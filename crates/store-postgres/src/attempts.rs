//! Counts of attempts.

use std::time::Duration;

use airouter_billing::Timestamp;
use airouter_store::StoreError;
use airouter_store::attempts::{
    AttemptKey, Attempts, Count, Counted, FORGOTTEN_AFTER_SECONDS, MOST_COUNTS_REMOVED,
};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::connection::failed;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

#[async_trait]
impl Attempts for PostgresStore {
    async fn count_attempt(&self, counts: &[Count], at: Timestamp) -> Result<Counted, StoreError> {
        // Everybody locks counts in this order.
        let mut counts: Vec<&Count> = counts.iter().collect();
        counts.sort_by_key(|count| count.key);
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            match add_all(&mut transaction, &counts, at).await {
                Ok(paused @ Counted::Paused(_)) => {
                    transaction.rollback().await.map_err(failed)?;
                    Ok(paused)
                }
                counted => finish(transaction, counted).await,
            }
        })
        .await
    }

    async fn forget_attempts(&self, key: &AttemptKey) -> Result<(), StoreError> {
        let who = key.as_bytes().as_slice();
        self.on_pool(async |connection| {
            sqlx::query!("DELETE FROM attempts WHERE who = $1", who)
                .execute(connection)
                .await
                .map(drop)
                .map_err(failed)
        })
        .await
    }

    async fn take_back_attempt(&self, key: &AttemptKey) -> Result<(), StoreError> {
        let who = key.as_bytes().as_slice();
        self.on_pool(async |connection| {
            sqlx::query!(
                "UPDATE attempts SET attempts = attempts - 1 WHERE who = $1 AND attempts > 0",
                who
            )
            .execute(connection)
            .await
            .map(drop)
            .map_err(failed)
        })
        .await
    }
}

async fn add_all(
    connection: &mut PgConnection,
    counts: &[&Count],
    at: Timestamp,
) -> Result<Counted, StoreError> {
    let mut longest = None;
    for count in counts {
        longest = longest.max(add(connection, count, at).await?);
    }
    if let Some(pause) = longest {
        return Ok(Counted::Paused(pause));
    }
    remove(connection, at).await?;
    Ok(Counted::Yes)
}

/// Counts one, unless there is a pause: what is left of it. The count is locked either way.
async fn add(
    connection: &mut PgConnection,
    count: &Count,
    at: Timestamp,
) -> Result<Option<Duration>, StoreError> {
    let who = count.key.as_bytes().as_slice();
    let pauses = count.pauses_micros();
    let counted = sqlx::query!(
        "INSERT INTO attempts AS a (who, attempts, last_micros) VALUES ($1, 1, $2)
        ON CONFLICT (who) DO UPDATE SET
            attempts = CASE WHEN a.last_micros <= $3 THEN 1 ELSE a.attempts + 1 END,
            last_micros = greatest(a.last_micros, $2)
        WHERE a.last_micros <= $3
            OR a.last_micros + ($4::bigint[])[least(a.attempts + 1, cardinality($4::bigint[]))] <= $2",
        who,
        at.as_micros(),
        at.plus_seconds(-FORGOTTEN_AFTER_SECONDS).as_micros(),
        &pauses
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if counted.rows_affected() > 0 {
        return Ok(None);
    }
    let left = sqlx::query_scalar!(
        r#"SELECT last_micros + ($3::bigint[])[least(attempts + 1, cardinality($3::bigint[]))] - $2 AS "left!"
        FROM attempts WHERE who = $1"#,
        who,
        at.as_micros(),
        &pauses
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(Some(Duration::from_micros(
        u64::try_from(left).unwrap_or(0),
    )))
}

/// Counts that somebody else has locked are left to others: nobody waits here.
async fn remove(connection: &mut PgConnection, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM attempts WHERE who IN (
            SELECT who FROM attempts WHERE last_micros <= $1
            ORDER BY last_micros LIMIT $2 FOR UPDATE SKIP LOCKED
        )",
        at.plus_seconds(-FORGOTTEN_AFTER_SECONDS).as_micros(),
        MOST_COUNTS_REMOVED
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
