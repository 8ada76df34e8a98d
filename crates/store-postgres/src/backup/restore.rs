//! Restoring a backup: one transaction, so that all of it is there or nothing.

use std::collections::BTreeSet;
use std::io::Read;

use airouter_store::StoreError;
use airouter_store::backup::{BackupError, BackupReader, Part, Table};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr as _};

use super::{ROWS_TIMEOUT, columns, quoted};
use crate::connection::{Connector, Purpose, failed, timed_out};
use crate::migrate::{self, MIGRATIONS};
use crate::open::{OpenError, PostgresStore};

impl PostgresStore {
    /// Makes the database at `url` what the backup has, and brings its schema to this version. It must be empty; servers
    /// and tools that are started meanwhile wait. It is all there when this returns, or nothing is.
    pub async fn restore(
        url: &str,
        backup: &mut BackupReader<impl Read + Send>,
    ) -> Result<(), BackupError> {
        let connector = Connector::new(url).map_err(unopened)?;
        let mut connection = connector.connect(Purpose::Long).await.map_err(failed)?;
        migrate::lock(&mut connection).await.map_err(failed)?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        check_empty(&mut transaction).await?;
        let migrations = in_a_transaction();
        let schema = backup.manifest().schema;
        migrations
            .run_to(schema, &mut *transaction)
            .await
            .map_err(|error| unopened(error.into()))?;
        load(&mut transaction, backup).await?;
        migrations
            .run(&mut *transaction)
            .await
            .map_err(|error| unopened(error.into()))?;
        transaction.commit().await.map_err(failed)?;
        sqlx::raw_sql("ANALYZE")
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        // The lock ends with it.
        Ok(connection.close().await.map_err(failed)?)
    }
}

/// Nothing of anybody may be in it, also nothing of a server that was just started for the first time.
async fn check_empty(connection: &mut PgConnection) -> Result<(), BackupError> {
    let place = sqlx::query!(
        r#"SELECT current_database()::text AS "name!", EXISTS (
            SELECT FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
        ) AS "has_something!""#
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    if place.has_something {
        return Err(BackupError::NotEmpty { place: place.name });
    }
    Ok(())
}

/// The migrations as one transaction can run them: where nobody else is, an index need not be built beside others.
fn in_a_transaction() -> Migrator {
    let migrations = MIGRATIONS.iter().cloned().map(|mut migration| {
        if migration.no_tx {
            let alone = migration.sql.as_str().replace(" CONCURRENTLY ", " ");
            migration.sql = AssertSqlSafe(alone).into_sql_str();
        }
        migration
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_locking(false);
    migrator
}

/// Puts all rows into the tables, which have those that migrations put there, without the triggers that guard or tell.
async fn load(
    connection: &mut PgConnection,
    backup: &mut BackupReader<impl Read>,
) -> Result<(), BackupError> {
    let wanted: BTreeSet<String> = super::tables(connection)
        .await?
        .into_iter()
        .map(|table| table.name)
        .collect();
    for name in &wanted {
        run(
            connection,
            format!("ALTER TABLE {} DISABLE TRIGGER USER", quoted(name)),
        )
        .await?;
    }
    let all: Vec<String> = wanted.iter().map(|name| quoted(name)).collect();
    run(connection, format!("TRUNCATE {}", all.join(", "))).await?;
    let loaded = load_tables(connection, backup, &wanted).await?;
    if loaded != wanted {
        return Err(BackupError::Damaged);
    }
    for name in &wanted {
        run(
            connection,
            format!("ALTER TABLE {} ENABLE TRIGGER USER", quoted(name)),
        )
        .await?;
    }
    Ok(())
}

/// Of the tables in the backup those that are ours: an operator may have had others beside them.
async fn load_tables(
    connection: &mut PgConnection,
    backup: &mut BackupReader<impl Read>,
    wanted: &BTreeSet<String>,
) -> Result<BTreeSet<String>, BackupError> {
    let mut loaded = BTreeSet::new();
    let mut part = backup.next_part()?;
    while let Some(begun) = part {
        let Part::Table(table) = begun else {
            return Err(BackupError::Damaged);
        };
        if wanted.contains(&table.name) {
            part = load_table(connection, &table, backup).await?;
            loaded.insert(table.name);
        } else {
            tracing::warn!(
                table = table.name,
                "is no table of this program and is left out"
            );
            part = skip(backup)?;
        }
    }
    Ok(loaded)
}

/// Puts the rows of a table into it, and goes on with its numbers where they were; returns what comes after them.
async fn load_table(
    connection: &mut PgConnection,
    table: &Table,
    backup: &mut BackupReader<impl Read>,
) -> Result<Option<Part>, BackupError> {
    let statement = format!(
        "COPY {} ({}) FROM STDIN",
        quoted(&table.name),
        columns(table)
    );
    let mut rows = connection.copy_in_raw(&statement).await.map_err(failed)?;
    let next = loop {
        match backup.next_part()? {
            Some(Part::Data(bytes)) => {
                tokio::time::timeout(ROWS_TIMEOUT, rows.send(bytes))
                    .await
                    .map_err(|_| failed(timed_out()))?
                    .map_err(failed)?;
            }
            next => break next,
        }
    };
    rows.finish().await.map_err(failed)?;
    for (column, last) in &table.numbered {
        if let Some(last) = last {
            go_on_after(connection, &table.name, column, *last).await?;
        }
    }
    Ok(next)
}

fn skip(backup: &mut BackupReader<impl Read>) -> Result<Option<Part>, BackupError> {
    loop {
        match backup.next_part()? {
            Some(Part::Data(_)) => {}
            next => return Ok(next),
        }
    }
}

async fn go_on_after(
    connection: &mut PgConnection,
    table: &str,
    column: &str,
    last: i64,
) -> Result<(), StoreError> {
    sqlx::query!(
        "SELECT setval(pg_get_serial_sequence(quote_ident($1), $2)::regclass, $3)",
        table,
        column,
        last
    )
    .fetch_one(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}

fn unopened(error: OpenError) -> BackupError {
    BackupError::database(error)
}
