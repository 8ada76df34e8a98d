//! Backups: every table as of one moment, and back.

mod restore;

use std::collections::HashSet;
use std::io::Write;
use std::time::Duration;

use airouter_store::StoreError;
use airouter_store::audit::verify_audit;
use airouter_store::backup::{BackupError, BackupKind, BackupWriter, Copied, Manifest, Table};
use futures_util::StreamExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::{Purpose, failed, timed_out};
use crate::migrate::MIGRATIONS;
use crate::open::PostgresStore;
use crate::verify;

/// How long the server may take for the next rows, or to take some.
const ROWS_TIMEOUT: Duration = Duration::from_secs(120);
/// What means nothing in another server: what caches must read again is told by the transactions of this one. And the
/// migrations, which whoever restores runs anew.
const LEFT_OUT: [&str; 4] = [
    "_sqlx_migrations",
    "change_log",
    "change_log_pruned",
    "server_lives",
];

impl PostgresStore {
    /// The last migration that this version knows.
    pub fn newest_schema() -> i64 {
        MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    /// Writes a backup into `file`, and proves what it copied. It reads in one transaction, which locks nothing that servers
    /// need; the proof sees the same.
    pub async fn back_up<W: Write + Send>(
        &self,
        file: W,
        made_at: String,
    ) -> Result<(W, Copied), BackupError> {
        let mut connection = self
            .connector
            .connect(Purpose::Long)
            .await
            .map_err(failed)?;
        let mut reading = verify::begin_reading(&mut connection).await?;
        // It waits while the rest is proved.
        sqlx::query!(
            "SELECT set_config('idle_in_transaction_session_timeout', '0', true) AS setting"
        )
        .fetch_one(&mut *reading)
        .await
        .map_err(failed)?;
        let snapshot = verify::export(&mut reading).await?;
        let database = identity(&mut reading).await?;
        let schema = schema(&mut reading).await?;
        let manifest = Manifest::new(BackupKind::Postgres, schema, made_at, database);
        let mut writer = BackupWriter::begin(file, &manifest)?;
        for table in tables(&mut reading).await? {
            writer.table(&table)?;
            copy(&mut reading, &table, &mut writer).await?;
        }
        let copied = Copied {
            ledger: verify::verify_as_of(self, Some(&snapshot)).await?,
            audit: verify_audit(self).await?,
        };
        reading.rollback().await.map_err(failed)?;
        Ok((writer.finish()?, copied))
    }
}

/// Writes all rows of a table.
async fn copy<W: Write>(
    connection: &mut PgConnection,
    table: &Table,
    writer: &mut BackupWriter<W>,
) -> Result<(), BackupError> {
    // A partitioned table has no rows of its own: only a query finds them.
    let statement = format!(
        "COPY (SELECT {} FROM {}) TO STDOUT",
        columns(table),
        quoted(&table.name)
    );
    let mut rows = connection.copy_out_raw(&statement).await.map_err(failed)?;
    loop {
        let part = tokio::time::timeout(ROWS_TIMEOUT, rows.next())
            .await
            .map_err(|_| failed(timed_out()))?;
        match part {
            Some(part) => writer.data(&part.map_err(failed)?)?,
            None => return Ok(()),
        }
    }
}

/// All tables that are copied, each after those that its rows refer to.
async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT c.relname::text AS "name!",
            ARRAY(
                SELECT a.attname::text FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                ORDER BY a.attnum
            ) AS "columns!",
            ARRAY(
                SELECT a.attname::text FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity <> ''
                ORDER BY a.attnum
            ) AS "numbered!",
            ARRAY(
                SELECT f.relname::text FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
                WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid
            ) AS "refers_to!"
        FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname <> ALL ($1)
        ORDER BY c.relname"#,
        &LEFT_OUT.map(str::to_owned)
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let mut numbered = Vec::with_capacity(row.numbered.len());
        for column in row.numbered {
            let last = last_number(connection, &row.name, &column).await?;
            numbered.push((column, last));
        }
        let table = Table {
            name: row.name,
            columns: row.columns,
            numbered,
        };
        waiting.push((table, row.refers_to));
    }
    Ok(in_order(waiting))
}

/// The last number that a column was given. It may be of a row that came after the moment that is copied.
async fn last_number(
    connection: &mut PgConnection,
    table: &str,
    column: &str,
) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar!(
        "SELECT pg_sequence_last_value(pg_get_serial_sequence(quote_ident($1), $2)::regclass)",
        table,
        column
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

/// Those first to which others refer. What refers to itself in a circle comes last.
fn in_order(mut waiting: Vec<(Table, Vec<String>)>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(waiting.len());
    loop {
        let names: HashSet<String> = waiting
            .iter()
            .map(|(table, _)| table.name.clone())
            .collect();
        let (ready, rest): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(_, refers_to)| !refers_to.iter().any(|name| names.contains(name)));
        let is_stuck = ready.is_empty();
        ordered.extend(ready.into_iter().map(|(table, _)| table));
        waiting = rest;
        if is_stuck {
            ordered.extend(waiting.into_iter().map(|(table, _)| table));
            return ordered;
        }
    }
}

async fn identity(connection: &mut PgConnection) -> Result<Uuid, StoreError> {
    sqlx::query_scalar!("SELECT id FROM database_identity")
        .fetch_one(connection)
        .await
        .map_err(failed)
}

/// The last migration that the database has.
async fn schema(connection: &mut PgConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar(r#"SELECT max(version) FROM _sqlx_migrations"#)
        .fetch_one(connection)
        .await
        .map_err(failed)
}

/// The columns of a table, as statements name them.
fn columns(table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

/// A name, as statements write it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Table {
        Table {
            name: name.to_owned(),
            columns: Vec::new(),
            numbered: Vec::new(),
        }
    }

    #[test]
    fn what_others_refer_to_comes_first() {
        let waiting = [
            ("keys", vec!["accounts"]),
            ("accounts", vec!["plans"]),
            ("plans", vec![]),
            ("head", vec!["tail"]),
            ("tail", vec!["head"]),
        ]
        .map(|(name, refers_to)| {
            (
                table(name),
                refers_to.into_iter().map(str::to_owned).collect(),
            )
        });
        let names: Vec<String> = in_order(waiting.into())
            .into_iter()
            .map(|table| table.name)
            .collect();
        assert_eq!(names, ["plans", "accounts", "keys", "head", "tail"]);
    }

    #[test]
    fn a_name_stays_a_name() {
        assert_eq!(quoted("a\"; DROP TABLE b"), "\"a\"\"; DROP TABLE b\"");
    }
}
