//! The audit log.

use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::{Audit, AuditEntry, AuditHead, AuditRecord};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::connection::failed;
use crate::convert::Column;
use crate::open::SqliteStore;

#[async_trait]
impl Audit for SqliteStore {
    async fn audit_log(&self, after: i64, limit: u16) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = i64::from(limit);
        let rows = sqlx::query!(
            "SELECT number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash
            FROM audit_log WHERE number > $1 ORDER BY number LIMIT $2",
            after,
            limit
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let column = |name| Column::new("audit_log", name);
        rows.into_iter()
            .map(|row| {
                let actor_id = row.actor_id.map(|id| column("actor_id").uuid(&id));
                Ok(AuditRecord {
                    number: row.number,
                    hash: hash(&row.hash, row.number)?,
                    entry: AuditEntry {
                        actor: row.actor,
                        actor_id: actor_id.transpose()?.map(UserId::new),
                        address: row.address,
                        action: row.action,
                        subject: column("subject_id").uuid(&row.subject_id)?,
                        reason: row.reason,
                        before: row.before,
                        after: row.after,
                        at: Timestamp::from_micros(row.at),
                    },
                })
            })
            .collect()
    }

    async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let row = sqlx::query!("SELECT number, hash FROM audit_head")
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        Ok(AuditHead {
            number: row.number,
            hash: hash(&row.hash, row.number)?,
        })
    }
}

/// Writes an entry in a transaction that the caller has begun.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let row = sqlx::query!("SELECT number, hash FROM audit_head")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let head = AuditHead {
        number: row.number,
        hash: hash(&row.hash, row.number)?,
    };
    let next = entry.hash_after(&head);
    let (number, hash) = (head.number + 1, next.as_slice());
    let at = entry.at.as_micros();
    let actor_id = entry.actor_id.map(UserId::get);
    sqlx::query!(
        "INSERT INTO audit_log (number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        number,
        at,
        entry.actor,
        actor_id,
        entry.address,
        entry.action,
        entry.subject,
        entry.reason,
        entry.before,
        entry.after,
        hash
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!("UPDATE audit_head SET number = $1, hash = $2", number, hash)
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
