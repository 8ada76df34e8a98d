//! Opening the database that the configuration names.

use std::path::Path;
use std::sync::Arc;

use airouter_store::Store;
use airouter_store_postgres::PostgresStore;
use airouter_store_sqlite::SqliteStore;
use secrecy::ExposeSecret as _;

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
    match &storage.database {
        DatabaseAddress::Sqlite(path) => open_sqlite(&storage.data_dir, path, mode).await,
        DatabaseAddress::Postgres(address) => {
            let mode = match mode {
                OpenMode::Serve => airouter_store_postgres::OpenMode::Serve,
                OpenMode::Tool => airouter_store_postgres::OpenMode::Tool,
            };
            let store = PostgresStore::open(address.expose_secret(), mode).await?;
            Ok(Arc::new(store))
        }
    }
}

async fn open_sqlite(
    data_dir: &Path,
    path: &Path,
    mode: OpenMode,
) -> anyhow::Result<Arc<dyn Store>> {
    create_data_dir(data_dir)?;
    if let Some(directory) = path.parent()
        && !directory.as_os_str().is_empty()
    {
        create_data_dir(directory)?;
    }
    let mode = match mode {
        OpenMode::Serve => airouter_store_sqlite::OpenMode::Serve,
        OpenMode::Tool => airouter_store_sqlite::OpenMode::Tool,
    };
    Ok(Arc::new(SqliteStore::open(path, mode).await?))
}
