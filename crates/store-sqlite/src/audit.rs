//! The audit log.

use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::{self, Audit, AuditEntry, AuditHead, AuditQuery, AuditRecord};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::connection::failed;
use crate::convert::Column;
use crate::open::SqliteStore;

struct Row {
    number: i64,
    at: i64,
    actor: String,
    actor_id: Option<Vec<u8>>,
    address: Option<String>,
    action: String,
    subject_id: Vec<u8>,
    reason: Option<String>,
    before: Option<String>,
    after: Option<String>,
    hash: Vec<u8>,
    salt: Option<Vec<u8>>,
    erased_by: Option<i64>,
}

impl Row {
    fn read(self) -> Result<AuditRecord, StoreError> {
        let column = |name| Column::new("audit_log", name);
        let actor_id = self.actor_id.map(|id| column("actor_id").uuid(&id));
        let salt = self.salt.map(|salt| column("salt").uuid(&salt));
        Ok(AuditRecord {
            number: self.number,
            hash: hash(&self.hash, self.number)?,
            salt: salt.transpose()?,
            erased_by: self.erased_by,
            entry: AuditEntry {
                actor: self.actor,
                actor_id: actor_id.transpose()?.map(UserId::new),
                address: self.address,
                action: self.action,
                subject: column("subject_id").uuid(&self.subject_id)?,
                reason: self.reason,
                before: self.before,
                after: self.after,
                at: Timestamp::from_micros(self.at),
            },
        })
    }
}

#[async_trait]
impl Audit for SqliteStore {
    async fn audit_log(&self, after: i64, limit: u16) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = i64::from(limit);
        let rows = sqlx::query_as!(
            Row,
            "SELECT number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash,
                salt, erased_by
            FROM audit_log WHERE number > $1 ORDER BY number LIMIT $2",
            after,
            limit
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter().map(Row::read).collect()
    }

    async fn search_audit_log(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = i64::from(query.limit);
        let from = query.from.map(Timestamp::as_micros);
        let until = query.until.map(Timestamp::as_micros);
        let rows = sqlx::query_as!(
            Row,
            "SELECT number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash,
                salt, erased_by
            FROM audit_log
            WHERE number > $1 AND ($2 IS NULL OR subject_id = $2)
                AND ($3 IS NULL OR action = $3 OR substr(action, 1, length($3) + 1) = $3 || '.')
                AND ($4 IS NULL OR actor = $4) AND ($5 IS NULL OR at >= $5) AND ($6 IS NULL OR at < $6)
            ORDER BY number LIMIT $7",
            query.after,
            query.subject,
            query.action,
            query.actor,
            from,
            until,
            limit
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter().map(Row::read).collect()
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
    let salt = audit::salt()?;
    let next = entry.hash_after(&head, Some(salt));
    let (number, hash) = (head.number + 1, next.as_slice());
    let at = entry.at.as_micros();
    let actor_id = entry.actor_id.map(UserId::get);
    sqlx::query!(
        "INSERT INTO audit_log (number, at, actor, actor_id, address, action, subject_id, reason, before, after, hash,
            salt)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
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
        hash,
        salt
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

pub(crate) fn hash(bytes: &[u8], number: i64) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| Column::new("audit_log", "hash").corrupt(number))
}
