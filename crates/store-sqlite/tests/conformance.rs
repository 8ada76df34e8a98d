//! The suite that every adapter passes.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

use std::sync::Arc;

use airouter_store::Store;
use airouter_store_sqlite::{OpenMode, SqliteStore};
use tempfile::TempDir;

async fn new_store() -> (Arc<dyn Store>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let store = SqliteStore::open(&path, OpenMode::Serve).await.unwrap();
    (Arc::new(store), directory)
}

airouter_store::conformance_tests!(new_store);
