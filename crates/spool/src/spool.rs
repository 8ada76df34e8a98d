//! The spool: a directory that one process has to itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, LocalDisk};
use crate::error::{Damage, SpoolError};
use crate::queue::Queue;
use crate::segment::{Progress, Segment};

/// The name of the file whose lock says that the directory is taken.
const LOCK: &str = "lock";

/// How large the files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment that would be larger is closed, and another one begun; one append is never divided. After a crash at
    /// most one segment of records that have landed comes again.
    pub segment_bytes: u64,
    /// All segments together.
    pub total_bytes: u64,
}

impl Default for Limits {
    /// 16 MiB a segment, 4 GiB together.
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            total_bytes: 4 << 30,
        }
    }
}

/// What was found when a spool was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Records that wait.
    pub records: u64,
    /// What they take on the disk.
    pub bytes: u64,
    /// Bytes of appends that a crash cut; they were never acknowledged.
    pub torn_bytes: u64,
    /// Segments that can't be read whole. They are said again at each start until their records have landed.
    pub damaged: Vec<Damage>,
    /// Files that were set aside before now, and wait for somebody to look at them.
    pub set_aside: usize,
}

/// Where a record is. Later records have larger positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    segment: u64,
    /// Of the segment, when this was read.
    recounts: u32,
    /// How many readable records of the segment there are up to this one.
    record: u64,
    end: u64,
}

impl Position {
    pub(crate) fn new(segment: &Segment, read: Progress) -> Self {
        Self {
            segment: segment.name.serial(),
            recounts: segment.recounts,
            record: read.records,
            end: read.end,
        }
    }

    pub(crate) fn segment(self) -> u64 {
        self.segment
    }

    /// The place in `segment`; `None` if it isn't there, or was counted otherwise.
    pub(crate) fn progress_in(self, segment: &Segment) -> Option<Progress> {
        let is_there = self.segment == segment.name.serial() && self.recounts == segment.recounts;
        is_there.then_some(Progress {
            records: self.record,
            end: self.end,
        })
    }
}

/// A record that has not landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where it is.
    pub position: Position,
    /// What was appended.
    pub record: Vec<u8>,
}

/// A durable queue of records in a directory of the local disk.
#[derive(Debug)]
pub struct Spool {
    queue: Mutex<Queue>,
    records: AtomicU64,
    bytes: AtomicU64,
    /// Held as long as the spool lives.
    _lock: Option<File>,
}

impl Spool {
    /// Opens the spool in `directory`, creates it if there is none (for its owner only), and looks through everything
    /// that an earlier process left in it.
    pub fn open(directory: &Path, limits: Limits) -> Result<(Self, Opened), SpoolError> {
        let disk = LocalDisk::open(directory).map_err(SpoolError::disk("create its directory"))?;
        let lock = lock(directory)?;
        let (mut spool, opened) = Self::open_on(Box::new(disk), limits)?;
        spool._lock = Some(lock);
        Ok((spool, opened))
    }

    pub(crate) fn open_on(
        disk: Box<dyn Disk>,
        limits: Limits,
    ) -> Result<(Self, Opened), SpoolError> {
        let (queue, opened) = Queue::open(disk, limits)?;
        let spool = Self {
            records: AtomicU64::new(queue.records()),
            bytes: AtomicU64::new(queue.bytes()),
            queue: Mutex::new(queue),
            _lock: None,
        };
        Ok((spool, opened))
    }

    /// Appends `records` in this order. When it returns `Ok`, all of them survive a crash of the machine. After an error
    /// none is acknowledged; any of them may still come to light after a restart. The spool remains usable: what was
    /// acknowledged before can be read, and the next append begins a new file.
    pub fn append(&self, records: &[&[u8]]) -> Result<(), SpoolError> {
        self.with_queue(|queue| queue.append(records))
    }

    /// The oldest records that have not landed, in the order of their appends: at most `max_records`, and at most
    /// `max_bytes` of them unless the first alone is larger. Empty only when nothing waits. What was read comes again
    /// until it has [landed](Self::landed).
    pub fn oldest(&self, max_records: usize, max_bytes: usize) -> Result<Vec<Waiting>, SpoolError> {
        self.with_queue(|queue| queue.oldest(max_records.max(1), max_bytes))
    }

    /// Lets go of all records up to and including the one at `up_to`. The file of a segment goes with its last record;
    /// within a segment only this process knows how far it is, so that landing costs no write: after a crash, what has
    /// landed of one segment comes again. After an error the records have landed all the same, and a file is left that
    /// the next call takes away.
    pub fn landed(&self, up_to: Position) -> Result<(), SpoolError> {
        self.with_queue(|queue| queue.landed(up_to))
    }

    /// How many records wait. Never blocks.
    pub fn len(&self) -> u64 {
        self.records.load(Ordering::Acquire)
    }

    /// Whether no record waits. Never blocks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the segments take on the disk, without those that were set aside. Never blocks.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    fn with_queue<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue: MutexGuard<'_, Queue> =
            self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut queue);
        self.records.store(queue.records(), Ordering::Release);
        self.bytes.store(queue.bytes(), Ordering::Release);
        result
    }
}

fn lock(directory: &Path) -> Result<File, SpoolError> {
    let failed = || SpoolError::disk("take its lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join(LOCK))
        .map_err(failed())?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => SpoolError::InUse {
            directory: directory.to_owned(),
        },
        TryLockError::Error(source) => failed()(source),
    })?;
    Ok(file)
}
