//! `airouter migrate`.

use std::process::ExitCode;

use airouter_store_sqlite::OpenMode;

use crate::config::Config;
use crate::{database, output};

pub(super) const HELP: &str = "\
Other commands do the same when they start; this one does nothing else. The database is that of DATABASE_URL.

Example:
  airouter migrate";

/// Opening migrates.
pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    database::open(&config.storage, OpenMode::Tool).await?;
    output::result(&format!(
        "{} has the schema of airouter {}",
        config.storage.database.display(),
        env!("CARGO_PKG_VERSION")
    ))?;
    Ok(ExitCode::SUCCESS)
}
