//! The counters of all keys, within bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::LimitKey;
use crate::counters::Counters;
use crate::share::Share;
use crate::window::Moment;

pub(crate) const SHARDS: usize = 64;

/// A shard that has grown to this size, or to twice what its last sweep left, is swept of empty counters.
const SWEEP_FROM: usize = 64;

/// How often a full shard is swept at most.
const SWEEP_FULL_EVERY_MS: u64 = 1_000;

/// The counters of all keys.
#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    most_keys_per_shard: usize,
}

/// The counters of one key.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: LimitKey,
    state: Mutex<State>,
    /// Told when what waiting requests asked of other replicas is answered.
    pub(crate) answered: Notify,
}

/// What [`Entry::lock`] guards.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) counters: Counters,
    pub(crate) share: Option<Box<Share>>,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<LimitKey, Arc<Entry>>,
    sweep_at_size: usize,
    sweep_full_from: u64,
}

impl Table {
    /// A table of about `most_keys` keys.
    pub(crate) fn new(most_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            most_keys_per_shard: most_keys.div_ceil(SHARDS).max(1),
        }
    }

    /// The counters of a key, new ones if it has none; `None` if there is no room.
    pub(crate) fn entry(&self, key: LimitKey, now: Moment) -> Option<Arc<Entry>> {
        // The remainder is below the number of shards.
        let index = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        let mut shard = lock(self.shards.get(index)?);
        if let Some(entry) = shard.entries.get(&key) {
            return Some(Arc::clone(entry));
        }
        shard.make_room(self.most_keys_per_shard, now);
        if shard.entries.len() >= self.most_keys_per_shard {
            return None;
        }
        let entry = Arc::new(Entry {
            key,
            state: Mutex::default(),
            answered: Notify::new(),
        });
        shard.entries.insert(key, Arc::clone(&entry));
        Some(entry)
    }

    /// How many keys are remembered.
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).entries.len())
            .sum()
    }
}

impl Shard {
    /// Forgets empty counters now and then: each sweep is paid for by as many insertions as it looks at entries.
    fn make_room(&mut self, most_keys: usize, now: Moment) {
        let full = self.entries.len() >= most_keys && now.0 >= self.sweep_full_from;
        if !full && self.entries.len() < self.sweep_at_size.max(SWEEP_FROM) {
            return;
        }
        // Counters that someone holds are in use, or will be in a moment.
        self.entries
            .retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.lock().is_empty(now));
        self.sweep_at_size = self.entries.len().saturating_mul(2);
        self.sweep_full_from = now.0.saturating_add(SWEEP_FULL_EVERY_MS);
    }
}

impl Entry {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn is_empty(&mut self, now: Moment) -> bool {
        self.counters.are_empty(now) && self.share.as_ref().is_none_or(|share| share.is_empty(now))
    }
}

/// What is locked here stays whole when a thread dies: it is changed by steps that can't panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
