//! The file that a backup is: what it is a backup of, then the database, then a checksum of all that.
//!
//! It begins with [`MAGIC`] and consists of frames: one byte that says which kind, the length of the rest in four bytes, and
//! the rest. The last frame is the SHA-256 of everything before it; a file without it is torn.

mod reader;
mod writer;

use std::io;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audit::AuditVerification;
use crate::error::StoreError;
use crate::ledger::Verification;

pub use reader::BackupReader;
pub use writer::BackupWriter;

/// What every backup begins with.
const MAGIC: &[u8; 16] = b"airouter backup\n";
/// The form of the file that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// No frame is longer: what is read is held in memory.
const LONGEST_FRAME: usize = 1024 * 1024;

const MANIFEST: u8 = b'M';
const TABLE: u8 = b'T';
const DATA: u8 = b'D';
const END: u8 = b'E';

/// Which adapter wrote it: what is in it is in that one's own form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// The database's file, in parts.
    Sqlite,
    /// Tables, each followed by its rows as `COPY` writes them.
    Postgres,
}

impl BackupKind {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the file.
    format: u32,
    /// Which adapter wrote it.
    pub kind: BackupKind,
    /// The last migration that the database had.
    pub schema: i64,
    /// When it was begun, in RFC 3339.
    pub made_at: String,
    /// Which database it is of.
    pub database: Uuid,
    /// The version of the program that wrote it.
    pub program: String,
}

impl Manifest {
    /// Of a backup that is written now.
    pub fn new(kind: BackupKind, schema: i64, made_at: String, database: Uuid) -> Self {
        Self {
            format: FORMAT,
            kind,
            schema,
            made_at,
            database,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A table, before its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in the order of the rows' values.
    pub columns: Vec<String>,
    /// Columns that are numbered by the database, and the last number that was given out, if one was.
    pub numbered: Vec<(String, Option<i64>)>,
}

/// A part of a backup, after its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What follows are rows of this table.
    Table(Table),
    /// Some bytes of the file, or of the table's rows.
    Data(Vec<u8>),
}

/// What was proved of the database that was copied.
#[derive(Clone, Debug)]
pub struct Copied {
    /// Of its ledger.
    pub ledger: Verification,
    /// Of its audit log.
    pub audit: AuditVerification,
}

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file can't be read or written.
    #[error("the file can't be read or written: {0}")]
    File(#[from] io::Error),
    /// It is something else.
    #[error("the file is no backup of this program")]
    NotABackup,
    /// It ends too early, or is not as it was written.
    #[error("the backup is torn, or was altered")]
    Damaged,
    /// A newer version of this program wrote it.
    #[error("the backup was written by a newer version of this program")]
    Newer,
    /// It is of another kind of database.
    #[error("the backup is of a {} database, and DATABASE_URL names one of {}", .found.name(), .wanted.name())]
    OtherKind {
        /// What it is of.
        found: BackupKind,
        /// What it was to be restored into.
        wanted: BackupKind,
    },
    /// There is something in the database that it was to be restored into.
    #[error(
        "there is a database at {place} already: a backup is only restored into an empty one. Let DATABASE_URL name a new one"
    )]
    NotEmpty {
        /// Where.
        place: String,
    },
    /// A server runs on it.
    #[error("a server is running on {place}: stop it, and let DATABASE_URL name a new database")]
    InUse {
        /// Where.
        place: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    /// Whatever else the database said.
    pub fn database(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Store(StoreError::Unavailable(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn manifest() -> Manifest {
        let made_at = "2026-11-22T03:00:00Z".to_owned();
        Manifest::new(BackupKind::Postgres, 18, made_at, Uuid::from_u128(7))
    }

    fn table() -> Table {
        Table {
            name: "plans".to_owned(),
            columns: vec!["id".to_owned(), "name".to_owned()],
            numbered: vec![("id".to_owned(), Some(3))],
        }
    }

    fn written() -> Vec<u8> {
        let mut writer = BackupWriter::begin(Vec::new(), &manifest()).unwrap();
        writer.table(&table()).unwrap();
        writer.data(b"1\tdefault\n").unwrap();
        writer.data(&vec![b'x'; LONGEST_FRAME + 1]).unwrap();
        writer.finish().unwrap()
    }

    /// Reads all of it.
    fn read(bytes: &[u8]) -> Result<(Manifest, Vec<Part>), BackupError> {
        let mut reader = BackupReader::begin(Cursor::new(bytes))?;
        let mut parts = Vec::new();
        while let Some(part) = reader.next_part()? {
            parts.push(part);
        }
        Ok((reader.manifest().clone(), parts))
    }

    #[test]
    fn what_was_written_is_read() {
        let (found, parts) = read(&written()).unwrap();
        assert_eq!(found, manifest());
        assert_eq!(parts[0], Part::Table(table()));
        assert_eq!(parts[1], Part::Data(b"1\tdefault\n".to_vec()));
        assert_eq!(parts[2], Part::Data(vec![b'x'; LONGEST_FRAME]));
        assert_eq!(parts[3], Part::Data(vec![b'x']));
        assert_eq!(parts.len(), 4);
    }

    #[test]
    fn what_is_torn_or_longer_is_refused() {
        let whole = written();
        let heads = 0..300;
        let tails = whole.len() - 300..whole.len();
        for length in heads.chain(tails) {
            assert!(read(&whole[..length]).is_err(), "cut at {length}");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert!(matches!(read(&longer), Err(BackupError::Damaged)));
    }

    #[test]
    fn every_altered_byte_is_found() {
        let whole = written();
        let places = (0..400).chain(whole.len() - 50..whole.len());
        for place in places {
            let mut altered = whole.clone();
            altered[place] ^= 1;
            assert!(read(&altered).is_err(), "altered at {place}");
        }
    }

    #[test]
    fn a_newer_form_is_told_from_damage() {
        let newer = Manifest {
            format: FORMAT + 1,
            ..manifest()
        };
        let writer = BackupWriter::begin(Vec::new(), &newer).unwrap();
        let bytes = writer.finish().unwrap();
        assert!(matches!(read(&bytes), Err(BackupError::Newer)));
    }
}
