//! The cache of client keys: what authentication and admission know without asking the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use airouter_auth::KeyHash;
use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::clients::KeySnapshot;
use airouter_store::{Store, StoreError};
use async_trait::async_trait;
use quick_cache::sync::Cache;

use crate::clock::Clock;

/// Most keys that are remembered, known or not: about 100 MB when full.
const MAX_ENTRIES: usize = 100_000;
/// An unknown key is asked for again after so long. Keys that are created meanwhile are found through the change log.
const UNKNOWN_FOR_SECONDS: i64 = 10;
/// A miss waits for the database at most so long.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Entry {
    snapshot: Option<Arc<KeySnapshot>>,
    loaded_at: Timestamp,
    /// Up to which change of anything it is known to be true.
    checked: Arc<AtomicU64>,
}

/// Where keys are looked up.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The key with this hash, in whatever state; `None` when there is none.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeySnapshot>, StoreError>;
}

/// The database.
struct Stored(Arc<dyn Store>);

#[async_trait]
impl KeySource for Stored {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeySnapshot>, StoreError> {
        self.0.key_by_hash(hash).await
    }
}

/// Snapshots of client keys by the key's hash. A miss is one query, shared by all who miss on the same key.
pub struct KeyCache {
    source: Box<dyn KeySource>,
    clock: Arc<dyn Clock>,
    entries: Cache<KeyHash, Entry>,
    generation: AtomicU64,
}

impl KeyCache {
    /// An empty cache over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self::over(Box::new(Stored(store)), clock)
    }

    /// An empty cache over `source`.
    pub fn over(source: Box<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            entries: Cache::new(MAX_ENTRIES),
            generation: AtomicU64::new(0),
        }
    }

    /// The key with this hash, or `None` when there is none.
    pub async fn get(&self, hash: &KeyHash) -> Result<Option<Arc<KeySnapshot>>, StoreError> {
        let now = self.clock.now();
        if let Some(entry) = self.entries.get(hash) {
            if self.is_fresh(&entry, now) {
                return Ok(entry.snapshot);
            }
            self.entries.remove(hash);
        }
        let lookup = self.entries.get_or_insert_async(hash, self.load(hash));
        match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(entry) => Ok(entry?.snapshot),
            Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
        }
    }

    async fn load(&self, hash: &KeyHash) -> Result<Entry, StoreError> {
        // Before the query: what changes while it runs makes its answer stale.
        let generation = self.generation.load(Ordering::Acquire);
        let snapshot = self.source.key_by_hash(hash).await?.map(Arc::new);
        let checked = Arc::new(AtomicU64::new(generation));
        Ok(Entry {
            snapshot,
            loaded_at: self.clock.now(),
            checked,
        })
    }

    fn is_fresh(&self, entry: &Entry, now: Timestamp) -> bool {
        let is_checked =
            entry.checked.load(Ordering::Acquire) == self.generation.load(Ordering::Acquire);
        let is_recent = || now < entry.loaded_at.plus_seconds(UNKNOWN_FOR_SECONDS);
        is_checked && (entry.snapshot.is_some() || is_recent())
    }

    /// A key changed.
    pub fn forget_key(&self, key: ApiKeyId) {
        self.forget(|snapshot| snapshot.key == key);
    }

    /// An account changed: everything that belongs to it or is paid by it.
    pub fn forget_account(&self, account: AccountId) {
        self.forget(|snapshot| snapshot.account == account || snapshot.payer == account);
    }

    /// Everything may have changed.
    pub fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.clear();
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops what is affected, and what was loaded while something else changed: that was not looked at then, and is loaded
    /// again.
    fn forget(&self, is_affected: impl Fn(&KeySnapshot) -> bool) {
        let before = self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.retain(|_, entry| {
            let is_current = entry.checked.load(Ordering::Acquire) == before;
            let is_kept = is_current
                && entry
                    .snapshot
                    .as_ref()
                    .is_some_and(|snapshot| !is_affected(snapshot));
            if is_kept {
                entry.checked.store(before + 1, Ordering::Release);
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests;
