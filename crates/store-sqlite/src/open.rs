//! Opening the file: who may, with which settings, and with which schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqlitePool};
use tokio::sync::Mutex;

use crate::plans::PlanCache;
use crate::shared_rows::SharedRowCache;

/// How long a statement waits for the lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Read-only connections.
const READERS: u32 = 4;
/// Rows that a connection reads ahead of whoever takes them.
const ROWS_AHEAD: usize = 1_024;
/// Of each connection: 32 MiB (negative numbers are KiB).
const PAGE_CACHE: &str = "-32768";
/// Pages of 4 KiB in the write-ahead log before they go to the database: what is written often goes there seldom.
const PAGES_BETWEEN_CHECKPOINTS: &str = "8000";
/// What brings a file to the schema of this version.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// What the file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To serve requests: the file has one server at a time.
    Serve,
    /// To look or to change something beside a running server.
    Tool,
}

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("{path} is in use by another server")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It, or the lock beside it, can't be created or read.
    #[error("{path} can't be opened: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a database, or can't be read as one.
    #[error("the database can't be opened: {0}")]
    Database(#[from] sqlx::Error),
    /// Its schema can't be brought to this version.
    #[error("the database's schema can't be migrated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// A SQLite database with everything in it.
#[derive(Debug)]
pub struct SqliteStore {
    pub(crate) writer: Mutex<SqliteConnection>,
    pub(crate) readers: SqlitePool,
    pub(crate) plans: PlanCache,
    pub(crate) shared_rows: SharedRowCache,
    /// Held as long as the store lives; `None` for a tool.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens the file, creates it if there is none (readable by its owner only), and migrates it.
    pub async fn open(path: &Path, mode: OpenMode) -> Result<Self, OpenError> {
        let lock = match mode {
            OpenMode::Serve => Some(lock(path)?),
            OpenMode::Tool => None,
        };
        create(path)?;
        let options = options(path);
        let mut writer = options.connect().await?;
        MIGRATIONS.run(&mut writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self {
            writer: Mutex::new(writer),
            readers,
            plans: PlanCache::default(),
            shared_rows: SharedRowCache::default(),
            _lock: lock,
        })
    }

    /// Brings the file's schema to this version.
    pub async fn migrate(path: &Path) -> Result<(), OpenError> {
        Self::open(path, OpenMode::Tool).await.map(drop)
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(200)
        .row_buffer_size(ROWS_AHEAD)
        .pragma("cache_size", PAGE_CACHE)
        .pragma("wal_autocheckpoint", PAGES_BETWEEN_CHECKPOINTS)
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

/// Takes the file that says who serves from the database; the system lets go of it when the process ends.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let file = open_private(&lock_path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse {
            path: path.to_owned(),
        },
        TryLockError::Error(source) => OpenError::File {
            path: lock_path,
            source,
        },
    })?;
    Ok(file)
}

/// SQLite gives its other files the mode of the first.
fn create(path: &Path) -> Result<(), OpenError> {
    open_private(path).map(drop)
}

pub(crate) fn open_private(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })
}
