//! Counts of attempts.

use std::time::Duration;

use airouter_billing::Timestamp;
use airouter_store::StoreError;
use airouter_store::attempts::{
    AttemptKey, Attempts, Count, Counted, FORGOTTEN_AFTER_SECONDS, MOST_COUNTS_REMOVED,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::connection::{begin, failed};
use crate::open::SqliteStore;

#[async_trait]
impl Attempts for SqliteStore {
    async fn count_attempt(&self, counts: &[Count], at: Timestamp) -> Result<Counted, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let mut longest = None;
        for count in counts {
            longest = longest.max(add(&mut transaction, count, at).await?);
        }
        if let Some(pause) = longest {
            return Ok(Counted::Paused(pause));
        }
        remove(&mut transaction, at).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Counted::Yes)
    }

    async fn forget_attempts(&self, key: &AttemptKey) -> Result<(), StoreError> {
        let who = key.as_bytes().as_slice();
        let mut writer = self.writer().await?;
        sqlx::query!("DELETE FROM attempts WHERE who = $1", who)
            .execute(&mut *writer)
            .await
            .map(drop)
            .map_err(failed)
    }

    async fn take_back_attempt(&self, key: &AttemptKey) -> Result<(), StoreError> {
        let who = key.as_bytes().as_slice();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "UPDATE attempts SET attempts = attempts - 1 WHERE who = $1 AND attempts > 0",
            who
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }
}

/// Counts one, unless there is a pause: what is left of it.
async fn add(
    connection: &mut SqliteConnection,
    count: &Count,
    at: Timestamp,
) -> Result<Option<Duration>, StoreError> {
    let who = count.key.as_bytes().as_slice();
    let forgotten = at.plus_seconds(-FORGOTTEN_AFTER_SECONDS).as_micros();
    let at = at.as_micros();
    let pauses = serde_json::json!(count.pauses_micros()).to_string();
    let counted = sqlx::query!(
        "INSERT INTO attempts (who, attempts, last_at) VALUES ($1, 1, $2)
        ON CONFLICT (who) DO UPDATE SET
            attempts = CASE WHEN last_at <= $3 THEN 1 ELSE attempts + 1 END, last_at = max(last_at, $2)
        WHERE last_at <= $3
            OR last_at + json_extract($4, '$[' || min(attempts, json_array_length($4) - 1) || ']') <= $2",
        who,
        at,
        forgotten,
        pauses
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if counted.rows_affected() > 0 {
        return Ok(None);
    }
    let left = sqlx::query_scalar!(
        r#"SELECT last_at + json_extract($3, '$[' || min(attempts, json_array_length($3) - 1) || ']') - $2 AS "left!: i64"
        FROM attempts WHERE who = $1"#,
        who,
        at,
        pauses
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(Some(Duration::from_micros(
        u64::try_from(left).unwrap_or(0),
    )))
}

async fn remove(connection: &mut SqliteConnection, at: Timestamp) -> Result<(), StoreError> {
    let forgotten = at.plus_seconds(-FORGOTTEN_AFTER_SECONDS).as_micros();
    sqlx::query!(
        "DELETE FROM attempts WHERE who IN (
            SELECT who FROM attempts WHERE last_at <= $1 ORDER BY last_at LIMIT $2
        )",
        forgotten,
        MOST_COUNTS_REMOVED
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
