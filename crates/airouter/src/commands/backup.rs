//! `airouter backup`.

use std::fs::File;
use std::fs::Permissions;
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use airouter_proxy::clock::Clock as _;
use airouter_store::audit::told_time;
use airouter_store::backup::{BackupError, BackupReader, Copied, Manifest};
use anyhow::{Context as _, bail};
use clap::Args;

use super::{audit, ledger};
use crate::clock::SystemClock;
use crate::config::{Config, DatabaseAddress};
use crate::{database, output};

pub(super) const HELP: &str = "\
Writes everything that the database has as of one moment, while servers go on. The file is for its owner only, and says what
it is: `airouter restore` refuses one that is torn or altered. What is in it is proved as by ledger verify and audit verify:
exit code 1 if something does not add up, with the file there all the same. ENCRYPTION_KEY and SECRET_KEY, or the files
encryption_key and secret_key of the data directory, are not in it: keep them elsewhere.

Example:
  airouter backup /backup/2026-11-22";

/// The command's arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file to write; there must be none.
    file: PathBuf,
}

/// Writes a backup, reads it again, and gives it its name.
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let path = arguments.file;
    let shown = path.display();
    if path.symlink_metadata().is_ok() {
        bail!("{shown} exists already");
    }
    let directory = directory_of(&path);
    let file = tempfile::Builder::new()
        .prefix(".airouter-backup-")
        .tempfile_in(directory)
        .with_context(|| format!("nothing can be written to {}", directory.display()))?;
    let (buffered, copied) = copy(config, directory, BufWriter::new(file)).await?;
    let file = buffered.into_inner().map_err(|error| error.into_error())?;
    file.as_file().sync_all()?;
    let manifest = check(file.path()).context("what was written can't be read again")?;
    file.persist_noclobber(&path)
        .with_context(|| format!("{shown} can't be written"))?;
    File::open(directory)?.sync_all()?;
    output::result(&format!("backup={shown}"))?;
    output::result(&format!("made_at={}", manifest.made_at))?;
    output::result(&format!("schema={}", manifest.schema))?;
    report(&copied)
}

/// Copies the configured database into the file.
async fn copy(
    config: &Config,
    directory: &Path,
    file: BufWriter<tempfile::NamedTempFile>,
) -> anyhow::Result<(BufWriter<tempfile::NamedTempFile>, Copied)> {
    let made_at = told_time(SystemClock.now()).context("the clock can't be right")?;
    match &config.storage.database {
        DatabaseAddress::Sqlite(path) => {
            if !path.exists() {
                bail!("there is no database at {}", path.display());
            }
            let store = database::open_file(path, database::OpenMode::Tool).await?;
            let scratch = tempfile::Builder::new()
                .prefix(".airouter-backup-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(directory)?;
            Ok(store.back_up(file, scratch.path(), made_at).await?)
        }
        DatabaseAddress::Postgres(address) => {
            let store = database::connect(address, database::OpenMode::Tool).await?;
            Ok(store.back_up(file, made_at).await?)
        }
    }
}

/// Reads a whole backup: what it is of, if all of it is as it was written.
pub(super) fn check(path: &Path) -> Result<Manifest, BackupError> {
    let mut reader = BackupReader::begin(BufReader::new(File::open(path)?))?;
    while reader.next_part()?.is_some() {}
    Ok(reader.manifest().clone())
}

/// Prints what was proved of a copy.
pub(super) fn report(copied: &Copied) -> anyhow::Result<ExitCode> {
    for line in ledger::report(&copied.ledger) {
        output::result(&line)?;
    }
    output::result(&audit::report(copied.audit))?;
    Ok(
        if ledger::adds_up(&copied.ledger) && audit::is_whole(copied.audit) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        },
    )
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
