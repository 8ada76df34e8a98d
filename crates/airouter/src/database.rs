//! Opening the database that the configuration names.

use std::sync::Arc;

use airouter_store::Store;
use airouter_store_sqlite::{OpenMode, SqliteStore};

use crate::config::Storage;
use crate::secret_files::create_data_dir;

/// Opens the database, creating and migrating it where needed.
pub(crate) async fn open(storage: &Storage, mode: OpenMode) -> anyhow::Result<Arc<dyn Store>> {
    create_data_dir(&storage.data_dir)?;
    if let Some(directory) = storage.database.parent()
        && !directory.as_os_str().is_empty()
    {
        create_data_dir(directory)?;
    }
    Ok(Arc::new(SqliteStore::open(&storage.database, mode).await?))
}
