//! Whether the database is the one that was here before, and not an older state of it: a backup that was restored, or a
//! standby that had not got everything. What it has forgotten was durable once, so it must be said.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use airouter_store::ledger::LedgerPosition;

/// The file of the data directory that remembers how far the ledger had come.
const FILE: &str = "ledger_position.json";

/// What a position says of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It goes on from what was seen.
    Continues,
    /// It has lost ledger transactions that were durable.
    Older {
        /// The last transaction that was seen.
        seen: i64,
        /// The last that it has now.
        found: i64,
    },
    /// It is another one.
    Another,
}

/// How `found` follows on `seen`.
pub fn continuity(seen: Option<LedgerPosition>, found: LedgerPosition) -> Continuity {
    match seen {
        None => Continuity::Continues,
        Some(seen) if seen.database != found.database => Continuity::Another,
        Some(seen) if found.last_transaction < seen.last_transaction => Continuity::Older {
            seen: seen.last_transaction,
            found: found.last_transaction,
        },
        Some(_) => Continuity::Continues,
    }
}

/// How far the ledger had come when this machine last looked.
#[derive(Debug)]
pub(crate) struct History {
    file: PathBuf,
    seen: Mutex<Option<LedgerPosition>>,
}

impl History {
    /// What an earlier process on this data directory saw.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let seen = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .inspect_err(|error| {
                    tracing::warn!(%error, file = FILE, "how far the ledger had come can't be read");
                })
                .ok(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, file = FILE, "how far the ledger had come can't be read");
                }
                None
            }
        };
        Self {
            file,
            seen: Mutex::new(seen),
        }
    }

    /// How what is found follows on what was seen before.
    pub(crate) fn compare(&self, found: LedgerPosition) -> Continuity {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        continuity(*seen, found)
    }

    /// From now on this is what was seen. Writes the file when that has changed.
    pub(crate) fn remember(&self, found: LedgerPosition) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != Some(found) {
            *seen = Some(found);
            if let Err(error) = self.write(found) {
                tracing::warn!(%error, file = FILE, "how far the ledger has come can't be written");
            }
        }
    }

    fn write(&self, position: LedgerPosition) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec(&position)?)?;
        fs::rename(new, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn position(database: u128, last_transaction: i64) -> LedgerPosition {
        LedgerPosition {
            database: Uuid::from_u128(database),
            last_transaction,
        }
    }

    #[test]
    fn an_older_state_is_told_from_another_database() {
        assert_eq!(continuity(None, position(1, 5)), Continuity::Continues);
        let seen = Some(position(1, 5));
        assert_eq!(continuity(seen, position(1, 5)), Continuity::Continues);
        assert_eq!(continuity(seen, position(1, 9)), Continuity::Continues);
        assert_eq!(continuity(seen, position(2, 1)), Continuity::Another);
        let older = Continuity::Older { seen: 5, found: 4 };
        assert_eq!(continuity(seen, position(1, 4)), older);
    }

    #[test]
    fn it_is_remembered_over_a_restart_and_said_once() {
        let directory = tempfile::tempdir().unwrap();
        History::open(directory.path()).remember(position(1, 5));
        let again = History::open(directory.path());
        let older = Continuity::Older { seen: 5, found: 4 };
        assert_eq!(again.compare(position(1, 4)), older);
        again.remember(position(1, 4));
        assert_eq!(again.compare(position(1, 4)), Continuity::Continues);
    }
}
