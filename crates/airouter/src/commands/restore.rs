//! `airouter restore`.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use airouter_store::audit::verify_audit;
use airouter_store::backup::{BackupError, BackupKind, BackupReader, Copied, Manifest};
use airouter_store_postgres::PostgresStore;
use airouter_store_sqlite::SqliteStore;
use clap::Args;
use secrecy::ExposeSecret as _;

use super::backup;
use crate::config::{Config, DatabaseAddress};
use crate::{database, output};

pub(super) const HELP: &str = "\
Restores into the database of DATABASE_URL, which must be new: a file that is not there, or a PostgreSQL database without
tables. Nothing is touched unless the whole backup is as it was written; what fails leaves nothing. The schema is brought to
this version, then ledger and audit log are proved: exit code 1 if something does not add up. Start servers afterwards, with
the ENCRYPTION_KEY and SECRET_KEY of those that ran on the database before.

Example:
  DATABASE_URL=postgres://airouter@db/restored airouter restore /backup/2026-11-22";

/// The command's arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What `airouter backup` has written.
    file: PathBuf,
}

/// Restores a backup and proves what is there then.
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let path = arguments.file;
    let manifest = backup::check(&path)?;
    check_fits(&manifest, &config.storage.database)?;
    let mut reader = BackupReader::begin(BufReader::new(File::open(&path)?))?;
    match &config.storage.database {
        DatabaseAddress::Sqlite(file) => {
            database::create_directories(&config.storage.data_dir, file)?;
            SqliteStore::restore(file, &mut reader).await?;
        }
        DatabaseAddress::Postgres(address) => {
            PostgresStore::restore(address.expose_secret(), &mut reader).await?;
        }
    }
    output::result(&format!("restored={}", config.storage.database))?;
    output::result(&format!("made_at={}", manifest.made_at))?;
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    backup::report(&Copied {
        ledger: store.verify().await?,
        audit: verify_audit(&*store).await?,
    })
}

/// Whether this version can put the backup into such a database.
fn check_fits(manifest: &Manifest, database: &DatabaseAddress) -> Result<(), BackupError> {
    let (wanted, newest) = match database {
        DatabaseAddress::Sqlite(_) => (BackupKind::Sqlite, SqliteStore::newest_schema()),
        DatabaseAddress::Postgres(_) => (BackupKind::Postgres, PostgresStore::newest_schema()),
    };
    if manifest.kind != wanted {
        return Err(BackupError::OtherKind {
            found: manifest.kind,
            wanted,
        });
    }
    if manifest.schema > newest {
        return Err(BackupError::Newer);
    }
    Ok(())
}
