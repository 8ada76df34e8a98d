//! Backups: the file as of one moment, and back.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use airouter_store::audit::verify_audit;
use airouter_store::backup::{
    BackupError, BackupKind, BackupReader, BackupWriter, Copied, Manifest, Part,
};
use airouter_store::{Ledger as _, StoreError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::Column;
use crate::open::{self, MIGRATIONS, OpenError, OpenMode, SqliteStore};

/// So much of the file is in memory at once.
const PART: usize = 1024 * 1024;

impl SqliteStore {
    /// The last migration that this version knows.
    pub fn newest_schema() -> i64 {
        MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    /// Writes a backup into `file`, and proves what it copied. Servers go on: whoever reads a moment of a file in WAL mode
    /// is in nobody's way. The copy is made in `scratch`, a directory for it alone.
    pub async fn back_up<W: Write + Send>(
        &self,
        file: W,
        scratch: &Path,
        made_at: String,
    ) -> Result<(W, Copied), BackupError> {
        let path = scratch.join("copy.db");
        self.copy_into(&path).await?;
        let copy = Self::open(&path, OpenMode::Tool).await.map_err(unopened)?;
        let copied = Copied {
            ledger: copy.verify().await?,
            audit: verify_audit(&copy).await?,
        };
        let database = copy.identity().await?;
        copy.close().await?;
        let manifest = Manifest::new(BackupKind::Sqlite, Self::newest_schema(), made_at, database);
        let mut writer = BackupWriter::begin(file, &manifest)?;
        let mut source = File::open(&path)?;
        let mut part = vec![0; PART];
        loop {
            let length = source.read(&mut part)?;
            if length == 0 {
                break;
            }
            writer.data(&part[..length])?;
        }
        Ok((writer.finish()?, copied))
    }

    /// Makes the database at `path` what the backup has, and brings its schema to this version. There must be none, and
    /// nobody may serve from it. It is there when all of it is, or not at all.
    pub async fn restore(
        path: &Path,
        backup: &mut BackupReader<impl Read + Send>,
    ) -> Result<(), BackupError> {
        let place = || path.display().to_string();
        let _lock = open::lock(path).map_err(|error| match error {
            OpenError::InUse { .. } => BackupError::InUse { place: place() },
            error => unopened(error),
        })?;
        if holds_something(path)? || holds_something(&beside(path, "-wal"))? {
            return Err(BackupError::NotEmpty { place: place() });
        }
        let unfinished = Unfinished(beside(path, ".restoring"));
        write_file(&unfinished.0, backup)?;
        migrate_alone(&unfinished.0).await?;
        File::open(&unfinished.0)?.sync_all()?;
        fs::rename(&unfinished.0, path)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        Ok(File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?)
    }

    async fn copy_into(&self, path: &Path) -> Result<(), BackupError> {
        // It takes an empty file, which this one can make for its owner alone.
        open::open_private(path).map_err(unopened)?;
        let name = path.to_str().ok_or(BackupError::File(
            std::io::ErrorKind::InvalidFilename.into(),
        ))?;
        let mut writer = self.writer().await?;
        sqlx::query("VACUUM INTO $1")
            .bind(name)
            .execute(&mut *writer)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn identity(&self) -> Result<Uuid, StoreError> {
        let id = sqlx::query_scalar!("SELECT id FROM database_identity")
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        Column::new("database_identity", "id").uuid(&id)
    }

    /// Ends all connections: everything is in the one file then.
    async fn close(self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.writer.into_inner().close().await.map_err(failed)
    }
}

/// A file that is taken away again unless it got another name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(beside(&self.0, "-journal"));
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn holds_something(path: &Path) -> Result<bool, BackupError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn write_file(path: &Path, backup: &mut BackupReader<impl Read>) -> Result<(), BackupError> {
    let mut file = open::open_private(path).map_err(unopened)?;
    file.set_len(0)?;
    while let Some(part) = backup.next_part()? {
        match part {
            Part::Data(bytes) => file.write_all(&bytes)?,
            Part::Table(_) => return Err(BackupError::Damaged),
        }
    }
    Ok(file.sync_all()?)
}

/// Without a log beside the file, which then can be renamed.
async fn migrate_alone(path: &Path) -> Result<(), BackupError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true);
    let mut connection = options.connect().await.map_err(failed)?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|error| unopened(error.into()))?;
    Ok(connection.close().await.map_err(failed)?)
}

fn unopened(error: OpenError) -> BackupError {
    BackupError::database(error)
}
