//! The writing connection and its transactions; what the database's errors mean.

use std::time::Duration;

use airouter_store::StoreError;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{Connection as _, Transaction};
use tokio::sync::MutexGuard;

use crate::open::SqliteStore;

/// How long a write waits for those before it.
const WRITER_WAIT: Duration = Duration::from_secs(10);

impl SqliteStore {
    /// The writing connection, once the writes before are done.
    pub(crate) async fn writer(&self) -> Result<MutexGuard<'_, SqliteConnection>, StoreError> {
        tokio::time::timeout(WRITER_WAIT, self.writer.lock())
            .await
            .map_err(|elapsed| StoreError::Unavailable(Box::new(elapsed)))
    }
}

/// Begins a transaction that may write from the start: one that reads first could find that another process wrote
/// since, and would fail at once.
pub(crate) async fn begin(
    connection: &mut SqliteConnection,
) -> Result<Transaction<'_, Sqlite>, StoreError> {
    connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)
}

/// SQLite's primary result codes (sqlite.org/rescode.html).
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NO_MEMORY: i32 = 7;
const READ_ONLY: i32 = 8;
const INPUT_OUTPUT: i32 = 10;
const FULL: i32 = 13;
const CANT_OPEN: i32 = 14;

/// What an error of the driver means to the caller.
pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    let is_refused = match &error {
        sqlx::Error::Database(database) => {
            let code = database
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .unwrap_or_default();
            !matches!(
                code & 0xff,
                BUSY | LOCKED | NO_MEMORY | READ_ONLY | INPUT_OUTPUT | FULL | CANT_OPEN
            )
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    };
    if is_refused {
        StoreError::Refused(Box::new(error))
    } else {
        StoreError::Unavailable(Box::new(error))
    }
}

/// Like [`failed`], for an insert of `what`, which may exist already.
pub(crate) fn insert_failed(error: sqlx::Error, what: &'static str) -> StoreError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            StoreError::Exists { what }
        }
        _ => failed(error),
    }
}
