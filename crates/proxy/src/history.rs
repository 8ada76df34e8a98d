//! Whether the database is the one that was here before, and not an older state of it: a backup that was restored, or a
//! standby that had not got everything. What it has forgotten was durable once, so it must be said.
//!
//! Two things are known to stay: the newest ledger transaction that was seen at the last look, and whatever this process
//! has committed since. Numbers alone would say less: others may write past them before this replica looks. What is still
//! under way in the database has not been seen, and is not missed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use airouter_billing::RequestId;
use airouter_store::ledger::{Durable, LedgerLook, LedgerPosition};
use airouter_store::settlements::CommitBatch;

/// The file of the data directory that remembers how far the ledger had come.
const FILE: &str = "ledger_position.json";
/// Most commits between two looks that are looked for.
const MOST_COMMITS: usize = 1_000;

/// What a look says of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It goes on from what was seen.
    Continues,
    /// It has lost what was durable.
    Older {
        /// The number of the last ledger transaction that was seen.
        seen: i64,
        /// That of the last that it has now.
        found: i64,
    },
    /// It is another one.
    Another,
}

/// How what was found follows on `seen`.
pub fn continuity(seen: Option<LedgerPosition>, look: &LedgerLook) -> Continuity {
    let Some(seen) = seen else {
        return Continuity::Continues;
    };
    if seen.database != look.position.database {
        return Continuity::Another;
    }
    let is_there = seen.newest.is_none() || look.transaction == seen.newest;
    if is_there && look.missing_requests == 0 {
        return Continuity::Continues;
    }
    let number = |position: LedgerPosition| position.newest.map_or(0, |newest| newest.number);
    Continuity::Older {
        seen: number(seen),
        found: number(look.position),
    }
}

/// One request of each commit that returned, until the database was looked at again.
#[derive(Debug, Default)]
pub struct Committed(Mutex<Vec<RequestId>>);

impl Committed {
    /// A batch is in the database.
    pub(crate) fn note(&self, batch: &CommitBatch) {
        if let Some(event) = batch.events.first() {
            let mut requests = self.lock();
            if requests.len() < MOST_COMMITS {
                requests.push(event.request.id);
            }
        }
    }

    fn all(&self) -> Vec<RequestId> {
        self.lock().clone()
    }

    /// The first so many were looked for.
    fn drop_first(&self, count: usize) {
        let mut requests = self.lock();
        let count = count.min(requests.len());
        requests.drain(..count);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<RequestId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// What to ask the database for.
    pub(crate) fn durable(&self, committed: &Committed) -> Durable {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Durable {
            transaction: seen.and_then(|seen| seen.newest).map(|mark| mark.number),
            requests: committed.all(),
        }
    }

    /// How what is found follows on what was seen before.
    pub(crate) fn compare(&self, look: &LedgerLook) -> Continuity {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        continuity(*seen, look)
    }

    /// From now on this is what was seen, and what was asked for need not be asked for again. Writes the file when that
    /// has changed.
    pub(crate) fn remember(&self, found: LedgerPosition, asked: &Durable, committed: &Committed) {
        committed.drop_first(asked.requests.len());
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
    use airouter_billing::{Nanos, Timestamp};
    use airouter_store::ledger::TransactionMark;
    use uuid::Uuid;

    /// The transaction with this number, of one of several histories.
    fn mark(number: i64, history: i64) -> TransactionMark {
        TransactionMark {
            number,
            created_at: Timestamp::from_micros(history),
            debits: Nanos::new(7),
        }
    }

    fn position(database: u128, newest: TransactionMark) -> LedgerPosition {
        LedgerPosition {
            database: Uuid::from_u128(database),
            newest: Some(newest),
        }
    }

    /// A look at a database of which nothing is missing.
    fn look(position: LedgerPosition, transaction: Option<TransactionMark>) -> LedgerLook {
        LedgerLook {
            position,
            transaction,
            missing_requests: 0,
        }
    }

    #[test]
    fn an_older_state_is_told_from_another_database() {
        let (first, same) = (position(1, mark(5, 1)), Some(mark(5, 1)));
        let seen = Some(first);
        assert_eq!(continuity(None, &look(first, None)), Continuity::Continues);
        assert_eq!(continuity(seen, &look(first, same)), Continuity::Continues);
        let later = look(position(1, mark(9, 1)), same);
        assert_eq!(continuity(seen, &later), Continuity::Continues);
        let another = look(position(2, mark(1, 1)), None);
        assert_eq!(continuity(seen, &another), Continuity::Another);
        let shorter = look(position(1, mark(4, 1)), None);
        let older = Continuity::Older { seen: 5, found: 4 };
        assert_eq!(continuity(seen, &shorter), older);
    }

    #[test]
    fn an_older_state_that_others_have_written_to_is_told_too() {
        let seen = Some(position(1, mark(5, 1)));
        let written = look(position(1, mark(9, 2)), Some(mark(5, 2)));
        let older = Continuity::Older { seen: 5, found: 9 };
        assert_eq!(continuity(seen, &written), older);
        let mut newer = look(position(1, mark(9, 1)), Some(mark(5, 1)));
        newer.missing_requests = 1;
        assert_eq!(continuity(seen, &newer), older);
    }

    #[test]
    fn it_is_remembered_over_a_restart_and_said_once() {
        let directory = tempfile::tempdir().unwrap();
        let committed = Committed::default();
        let first = History::open(directory.path());
        let asked = first.durable(&committed);
        assert_eq!(asked, Durable::default());
        first.remember(position(1, mark(5, 1)), &asked, &committed);
        let again = History::open(directory.path());
        let asked = again.durable(&committed);
        assert_eq!(asked.transaction, Some(5));
        let found = position(1, mark(4, 1));
        let older = Continuity::Older { seen: 5, found: 4 };
        assert_eq!(again.compare(&look(found, None)), older);
        again.remember(found, &asked, &committed);
        assert_eq!(again.durable(&committed).transaction, Some(4));
        let unchanged = look(found, Some(mark(4, 1)));
        assert_eq!(again.compare(&unchanged), Continuity::Continues);
    }

    #[test]
    fn what_is_committed_during_a_look_is_asked_for_at_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::open(directory.path());
        let committed = Committed::default();
        let [one, other] = [1, 2].map(|id| RequestId::new(Uuid::from_u128(id)));
        committed.lock().push(one);
        let asked = history.durable(&committed);
        committed.lock().push(other);
        assert_eq!(asked.requests, [one]);
        history.remember(position(1, mark(5, 1)), &asked, &committed);
        assert_eq!(history.durable(&committed).requests, [other]);
    }
}
