//! Adds requests to the sums that are kept. There is one writer: what was written is in the order of its numbers.

use airouter_store::StoreError;
use airouter_store::rollups::{Folded, Rollups};
use async_trait::async_trait;

use crate::connection::{begin, failed};
use crate::open::SqliteStore;

/// No more are added in one transaction: commits of requests wait meanwhile, some milliseconds.
const MOST_EVENTS: u32 = 500;

/// How far the sums go, and how far they will.
struct Step {
    logs_through: i64,
    logs_to: i64,
    later_through: i64,
    later_to: i64,
    /// Whether there are requests after them.
    is_more: bool,
}

#[async_trait]
impl Rollups for SqliteStore {
    async fn fold_usage(&self, most: u32) -> Result<Folded, StoreError> {
        let most = most.clamp(1, MOST_EVENTS);
        // Who has nothing to write keeps nobody waiting.
        if !self.has_unfolded().await? {
            return Ok(Folded::Done);
        }
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let step = sqlx::query_as!(
            Step,
            r#"SELECT logs_through, later_through,
                coalesce((SELECT max(seq) FROM (
                    SELECT seq FROM request_logs WHERE seq > logs_through ORDER BY seq LIMIT $1
                )), logs_through) AS "logs_to!: i64",
                coalesce((SELECT max(transaction_id) FROM (
                    SELECT transaction_id FROM request_corrections WHERE transaction_id > later_through
                    UNION SELECT transaction_id FROM request_refunds WHERE transaction_id > later_through
                    ORDER BY transaction_id LIMIT $1
                )), later_through) AS "later_to!: i64",
                (SELECT count(*) FROM (
                    SELECT 1 FROM request_logs WHERE seq > logs_through LIMIT $1 + 1
                )) > $1 OR (SELECT count(*) FROM (
                    SELECT transaction_id FROM request_corrections WHERE transaction_id > later_through
                    UNION SELECT transaction_id FROM request_refunds WHERE transaction_id > later_through
                    LIMIT $1 + 1
                )) > $1 AS "is_more!: bool"
            FROM usage_rollup_state"#,
            most
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        let logs = (step.logs_through, step.logs_to);
        let later = (step.later_through, step.later_to);
        sqlx::query_file!("src/usage/fold_step.sql", logs.0, logs.1, later.0, later.1)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        for add in [
            sqlx::query_file!("src/usage/fold_by_key.sql"),
            sqlx::query_file!("src/usage/fold_by_model.sql"),
            sqlx::query_file!("src/usage/fold_by_payer.sql"),
            sqlx::query_file!("src/usage/fold_in_all.sql"),
            sqlx::query!("DELETE FROM usage_step"),
        ] {
            add.execute(&mut *transaction).await.map_err(failed)?;
        }
        sqlx::query!(
            "UPDATE usage_rollup_state SET logs_through = $1, later_through = $2",
            logs.1,
            later.1
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(if step.is_more {
            Folded::More
        } else {
            Folded::Done
        })
    }
}

impl SqliteStore {
    async fn has_unfolded(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM request_logs WHERE seq > logs_through)
                OR EXISTS (SELECT 1 FROM request_corrections WHERE transaction_id > later_through)
                OR EXISTS (SELECT 1 FROM request_refunds WHERE transaction_id > later_through)
                AS "has_unfolded!: bool"
            FROM usage_rollup_state"#
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)
    }
}
