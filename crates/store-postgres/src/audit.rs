//! The audit log.

use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::{self, Audit, AuditEntry, AuditHead, AuditQuery, AuditRecord};
use async_trait::async_trait;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, timestamptz};
use crate::open::PostgresStore;

struct Row {
    number: i64,
    at: OffsetDateTime,
    actor: String,
    actor_id: Option<Uuid>,
    address: Option<String>,
    action: String,
    subject_id: Uuid,
    reason: Option<String>,
    before: Option<String>,
    after: Option<String>,
    hash: Vec<u8>,
    salt: Option<Uuid>,
    erased_by: Option<i64>,
}

impl Row {
    fn read(self) -> Result<AuditRecord, StoreError> {
        Ok(AuditRecord {
            number: self.number,
            hash: hash(&self.hash, self.number)?,
            salt: self.salt,
            erased_by: self.erased_by,
            entry: AuditEntry {
                actor: self.actor,
                actor_id: self.actor_id.map(UserId::new),
                address: self.address,
                action: self.action,
                subject: self.subject_id,
                reason: self.reason,
                before: self.before,
                after: self.after,
                at: Timestamp::from(self.at),
            },
        })
    }
}

#[async_trait]
impl Audit for PostgresStore {
    async fn audit_log(&self, after: i64, limit: u16) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query_as!(
                    Row,
                    "SELECT number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash,
                        salt, erased_by
                    FROM audit_log WHERE number > $1 ORDER BY number LIMIT $2",
                    after,
                    i64::from(limit)
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        rows.into_iter().map(Row::read).collect()
    }

    async fn search_audit_log(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query_as!(
                    Row,
                    "SELECT number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash,
                        salt, erased_by
                    FROM audit_log
                    WHERE number > $1 AND ($2::uuid IS NULL OR subject_id = $2)
                        AND ($3::text IS NULL OR action = $3 OR starts_with(action, $3 || '.'))
                        AND ($4::text IS NULL OR actor = $4)
                        AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
                    ORDER BY number LIMIT $7",
                    query.after,
                    query.subject,
                    query.action,
                    query.actor,
                    query.from.map(timestamptz),
                    query.until.map(timestamptz),
                    i64::from(query.limit)
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        rows.into_iter().map(Row::read).collect()
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
    let salt = audit::salt()?;
    let next = entry.hash_after(&head, Some(salt));
    sqlx::query!(
        "WITH head AS (UPDATE audit_head SET number = number + 1, hash = $11 RETURNING number)
        INSERT INTO audit_log (number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash,
            salt)
        SELECT number, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12 FROM head",
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
        next.as_slice(),
        salt
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

pub(crate) fn hash(bytes: &[u8], number: i64) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| Column::new("audit_log", "hash").corrupt(number))
}
