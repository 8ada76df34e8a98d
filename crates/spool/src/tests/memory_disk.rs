//! A disk in memory that knows what is durable, and fails when it is told to.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{AppendFile, Disk};

#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    files: Vec<Bytes>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since they were synced, in order.
    changes: Vec<NameChange>,
    operations: u64,
    failing: Range<u64>,
    /// From this operation on nothing happens any more: the process is dead.
    dead_from: Option<u64>,
}

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
struct Bytes {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// After a failed sync what it was for is never written, whatever later syncs say.
    dropped: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Remove(String),
    Rename(String, String),
}

/// What a power failure leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsynced {
    /// Nothing.
    Lost,
    /// Everything.
    Kept,
    /// So many 255ths of the bytes and of the changes of names.
    Part(u8),
    /// Every change of a name whose bit is set, whatever came before it, and all bytes.
    Scattered(u8),
    /// As `Part` of the names; the files have their lengths, but zeros from there on.
    Zeros(u8),
}

impl Unsynced {
    fn keeps(self, change: usize, changes: usize) -> bool {
        match self {
            Self::Scattered(bits) => bits >> (change % 8) & 1 == 1,
            _ => change < self.kept(changes),
        }
    }

    fn kept(self, count: usize) -> usize {
        match self {
            Self::Lost => 0,
            Self::Kept | Self::Scattered(_) => count,
            Self::Part(part) | Self::Zeros(part) => count * usize::from(part) / 255,
        }
    }
}

impl MemoryDisk {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap()
    }

    /// Lets the operations fail that come after `after` more, `count` of them.
    pub(super) fn fail(&self, after: u64, count: u64) {
        let mut contents = self.contents();
        let start = contents.operations + after;
        contents.failing = start..start.saturating_add(count);
    }

    /// Lets the process die after `after` more operations, in the middle of a write if that comes next.
    pub(super) fn kill(&self, after: u64) {
        let mut contents = self.contents();
        let dead_from = contents.operations + after;
        contents.dead_from.get_or_insert(dead_from);
    }

    /// Another process begins, on a disk that works.
    pub(super) fn restart(&self) {
        let mut contents = self.contents();
        contents.failing = 0..0;
        contents.dead_from = None;
    }

    pub(super) fn operations(&self) -> u64 {
        self.contents().operations
    }

    /// The power fails: what is left is what was durable, and a part of the rest.
    pub(super) fn lose_power(&self, unsynced: Unsynced) {
        let mut contents = self.contents();
        let changes = std::mem::take(&mut contents.changes);
        let count = changes.len();
        for (at, change) in changes.into_iter().enumerate() {
            if unsynced.keeps(at, count) {
                change.apply(&mut contents.durable_names);
            }
        }
        contents.names = contents.durable_names.clone();
        for file in &mut contents.files {
            file.lose_power(unsynced);
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.contents().names.keys().cloned().collect()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let contents = self.contents();
        contents.files[contents.names[name]].cached.clone()
    }

    /// Puts `bytes` where a file is, or a new one.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut contents = self.contents();
        let file = contents.files.len();
        contents.files.push(Bytes {
            durable: bytes.clone(),
            cached: bytes,
            dropped: false,
        });
        contents.names.insert(name.to_owned(), file);
        contents.durable_names.insert(name.to_owned(), file);
    }

    /// A disk of its own with the same files.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for name in self.names() {
            copy.put(&name, self.bytes(&name));
        }
        copy
    }
}

impl Bytes {
    fn sync(&mut self) {
        if !self.dropped {
            self.durable.clone_from(&self.cached);
        }
    }

    fn lose_power(&mut self, unsynced: Unsynced) {
        let mut left = self.durable.clone();
        if let Some(rest) = self.cached.strip_prefix(&*self.durable)
            && !self.dropped
        {
            left.extend_from_slice(&rest[..unsynced.kept(rest.len())]);
            if let Unsynced::Zeros(_) = unsynced {
                left.resize(self.cached.len(), 0);
            }
        }
        *self = Self {
            cached: left.clone(),
            durable: left,
            dropped: false,
        };
    }
}

impl Contents {
    fn is_dead(&self) -> bool {
        self.dead_from.is_some_and(|dead| self.operations > dead)
    }

    fn operate(&mut self) -> io::Result<()> {
        let fails = self.failing.contains(&self.operations);
        self.operations += 1;
        if self.is_dead() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        let file = self.names.get(name).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&mut self, file: usize) -> io::Result<()> {
        let result = self.operate();
        match result {
            Ok(()) => self.files[file].sync(),
            Err(_) if self.is_dead() => {}
            Err(_) => self.files[file].dropped = true,
        }
        result
    }

    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, file) => {
                names.insert(name, file);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let contents = self.contents();
        let files = contents.names.iter();
        Ok(files
            .map(|(name, file)| (name.clone(), contents.files[*file].cached.len() as u64))
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let mut contents = self.contents();
        contents.operate()?;
        assert!(!contents.names.contains_key(name), "{name} is there");
        let file = contents.files.len();
        contents.files.push(Bytes::default());
        contents.change(NameChange::Set(name.to_owned(), file));
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            file,
        }))
    }

    fn read(&self, name: &str, offset: u64) -> io::Result<Box<dyn Read>> {
        let contents = self.contents();
        let mut bytes = Cursor::new(contents.files[contents.file(name)?].cached.clone());
        bytes.set_position(offset);
        Ok(Box::new(bytes))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut contents = self.contents();
        let file = contents.file(name)?;
        contents.sync(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut contents = self.contents();
        contents.operate()?;
        contents.file(from)?;
        contents.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut contents = self.contents();
        contents.operate()?;
        contents.file(name)?;
        contents.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut contents = self.contents();
        contents.operate()?;
        contents.durable_names = contents.names.clone();
        contents.changes.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl AppendFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.disk.contents();
        let was_dead = contents.is_dead();
        let result = contents.operate();
        let written = match result {
            Ok(()) => bytes,
            Err(_) if was_dead => &[],
            Err(_) => &bytes[..bytes.len() / 2],
        };
        contents.files[self.file].cached.extend_from_slice(written);
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.contents().sync(self.file)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut contents = self.disk.contents();
        contents.operate()?;
        let length = usize::try_from(length).unwrap();
        contents.files[self.file].cached.truncate(length);
        Ok(())
    }
}
