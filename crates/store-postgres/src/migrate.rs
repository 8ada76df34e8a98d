//! Bringing the schema to this version, while servers of the version before go on.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::connection::{Connector, Purpose};
use crate::open::OpenError;

/// What brings a database to the schema of this version.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");
/// The lock of whoever migrates: `airouter` in ASCII.
const LOCK: i64 = 0x6169_726f_7574_6572;
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Indexes that are built while others write. One that was cut off is there, is kept up and is not used.
const BUILT_CONCURRENTLY: [&str; 1] = ["request_logs_by_payer"];

/// One replica migrates at a time; the others wait for it, and find nothing left to do.
pub(crate) async fn migrate(connector: &Connector) -> Result<(), OpenError> {
    let mut connection = connector.connect(Purpose::Long).await?;
    lock(&mut connection).await?;
    drop_unfinished(&mut connection).await?;
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    // A replica of the version before may start again after the first one of this version has migrated.
    migrations.set_ignore_missing(true);
    migrations.set_locking(false);
    migrations.run(&mut connection).await?;
    // The lock ends with it.
    connection.close().await?;
    Ok(())
}

/// Asks again and again: a statement that waited for the lock would be one that the building of an index waits for.
pub(crate) async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    loop {
        let is_locked =
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "is_locked!""#, LOCK)
                .fetch_one(&mut *connection)
                .await?;
        if is_locked {
            return Ok(());
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Drops what attempts that were cut off have left.
async fn drop_unfinished(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for index in BUILT_CONCURRENTLY {
        let is_unfinished = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE c.relname = $1 AND c.relnamespace = current_schema()::regnamespace AND NOT i.indisvalid
            ) AS "is_unfinished!""#,
            index as _
        )
        .fetch_one(&mut *connection)
        .await?;
        if is_unfinished {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
            sqlx::raw_sql(AssertSqlSafe(drop))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}
