//! Opening the database that the configuration names.

use std::path::Path;
use std::sync::Arc;

use airouter_store::Store;
use airouter_store_postgres::PostgresStore;
use airouter_store_sqlite::SqliteStore;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{DatabaseAddress, Storage};
use crate::secret_files::create_data_dir;

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// To serve requests.
    Serve,
    /// To look or to change something beside servers.
    Tool,
}

/// Opens the database, creating and migrating it where needed.
pub(crate) async fn open(storage: &Storage, mode: OpenMode) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &storage.database {
        DatabaseAddress::Sqlite(path) => {
            create_directories(&storage.data_dir, path)?;
            Arc::new(open_file(path, mode).await?)
        }
        DatabaseAddress::Postgres(address) => Arc::new(connect(address, mode).await?),
    })
}

/// Opens a SQLite file.
pub(crate) async fn open_file(path: &Path, mode: OpenMode) -> anyhow::Result<SqliteStore> {
    let mode = match mode {
        OpenMode::Serve => airouter_store_sqlite::OpenMode::Serve,
        OpenMode::Tool => airouter_store_sqlite::OpenMode::Tool,
    };
    Ok(SqliteStore::open(path, mode).await?)
}

/// Opens a PostgreSQL database.
pub(crate) async fn connect(
    address: &SecretString,
    mode: OpenMode,
) -> anyhow::Result<PostgresStore> {
    let mode = match mode {
        OpenMode::Serve => airouter_store_postgres::OpenMode::Serve,
        OpenMode::Tool => airouter_store_postgres::OpenMode::Tool,
    };
    Ok(PostgresStore::open(address.expose_secret(), mode).await?)
}

/// Creates the directories that a SQLite file needs.
pub(crate) fn create_directories(data_dir: &Path, path: &Path) -> anyhow::Result<()> {
    create_data_dir(data_dir)?;
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => create_data_dir(directory),
        _ => Ok(()),
    }
}
