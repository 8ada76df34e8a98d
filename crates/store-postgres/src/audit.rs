//! The audit log.

use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::{Audit, AuditEntry, AuditHead, AuditRecord};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::connection::failed;
use crate::convert::{Column, timestamptz};
use crate::open::PostgresStore;

#[async_trait]
impl Audit for PostgresStore {
    async fn audit_log(&self, after: i64, limit: u16) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query!(
                    "SELECT number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash
                    FROM audit_log WHERE number > $1 ORDER BY number LIMIT $2",
                    after,
                    i64::from(limit)
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(AuditRecord {
                    number: row.number,
                    hash: hash(&row.hash, row.number)?,
                    entry: AuditEntry {
                        actor: row.actor,
                        actor_id: row.actor_id.map(UserId::new),
                        address: row.address,
                        action: row.action,
                        subject: row.subject_id,
                        reason: row.reason,
                        before: row.before,
                        after: row.after,
                        at: Timestamp::from(row.at),
                    },
                })
            })
            .collect()
    }

    async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let row = self
            .on_pool(async |connection| {
                sqlx::query!("SELECT number, hash FROM audit_head")
                    .fetch_one(connection)
                    .await
                    .map_err(failed)
            })
            .await?;
        Ok(AuditHead {
            number: row.number,
            hash: hash(&row.hash, row.number)?,
        })
    }
}

/// Writes an entry, the last thing that a transaction does: from here on others who write one wait for it.
pub(crate) async fn append(
    connection: &mut PgConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let row = sqlx::query!("SELECT number, hash FROM audit_head FOR UPDATE")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let head = AuditHead {
        number: row.number,
        hash: hash(&row.hash, row.number)?,
    };
    let next = entry.hash_after(&head);
    sqlx::query!(
        "WITH head AS (UPDATE audit_head SET number = number + 1, hash = $11 RETURNING number)
        INSERT INTO audit_log (number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash)
        SELECT number, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM head",
        timestamptz(entry.at),
        entry.actor,
        entry.actor_id.map(UserId::get),
        entry.address,
        entry.action,
        entry.subject,
        entry.reason,
        entry.before,
        entry.after,
        next.as_slice(),
        next.as_slice()
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

fn hash(bytes: &[u8], number: i64) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| Column::new("audit_log", "hash").corrupt(number))
}
