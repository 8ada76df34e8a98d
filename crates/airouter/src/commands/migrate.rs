//! `airouter migrate`.

use std::process::ExitCode;

use crate::config::Config;
use crate::{database, output};

pub(super) const HELP: &str = "\
Other commands do the same when they start; this one does nothing else. The database is that of DATABASE_URL. Several
may be started at once: one migrates, the others wait.

Example:
  airouter migrate";

/// Opening migrates.
pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    database::open(&config.storage, database::OpenMode::Tool).await?;
    output::result(&format!(
        "{} has the schema of airouter {}",
        config.storage.database,
        env!("CARGO_PKG_VERSION")
    ))?;
    Ok(ExitCode::SUCCESS)
}
