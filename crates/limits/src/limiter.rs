//! The rate limits of one process: counters by key, within bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::counters::{Charge, Counters, slower, tighter};
use crate::window::Moment;
use crate::{LimitKey, RateLimited, RateLimits, RateStatus};

const SHARDS: usize = 64;

/// A shard that has grown to this size, or to twice what its last sweep left, is swept of empty counters.
const SWEEP_FROM: usize = 64;

/// How often a full shard is swept at most.
const SWEEP_FULL_EVERY_MS: u64 = 1_000;

/// Counts the requests and tokens of keys that have limits. Time is the caller's.
#[derive(Debug)]
pub struct Limiter {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    most_keys_per_shard: usize,
}

/// Why a request was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It goes beyond a limit.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// Too many keys with limits were active within a minute: the gateway is overloaded.
    #[error("too many keys with rate limits are active")]
    Full,
}

/// A request that was admitted. It runs until this is dropped.
#[derive(Debug)]
#[must_use = "dropping an admission ends the request for the concurrency limit"]
pub struct Admission {
    holdings: Vec<Holding>,
    status: RateStatus,
}

#[derive(Debug)]
struct Holding {
    counters: Arc<Mutex<Counters>>,
    charge: Charge,
}

#[derive(Debug, Default)]
struct Shard {
    counters: HashMap<LimitKey, Arc<Mutex<Counters>>>,
    sweep_at_size: usize,
    sweep_full_from: u64,
}

impl Limiter {
    /// A limiter that remembers about `most_keys` active keys and accounts (at most some kilobytes each).
    pub fn new(most_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            most_keys_per_shard: most_keys.div_ceil(SHARDS).max(1),
        }
    }

    /// Admits a request if it fits the limits of all these keys, and then counts it for all; else it counts for none.
    /// Costs next to nothing where there are no limits. A key that is given twice counts once, with the first limits.
    pub fn admit(
        &self,
        keys: &[(LimitKey, RateLimits)],
        estimated_tokens: u64,
        now: Moment,
    ) -> Result<Admission, Refused> {
        let limited = keys.iter().filter(|(_, limits)| !limits.is_unlimited());
        let mut limited: Vec<_> = limited.collect();
        if limited.is_empty() {
            return Ok(Admission {
                holdings: Vec::new(),
                status: RateStatus::default(),
            });
        }
        // Everyone locks in the order of keys, so that nobody waits in a circle.
        limited.sort_by_key(|(key, _)| *key);
        limited.dedup_by_key(|(key, _)| *key);
        let counters = limited
            .iter()
            .map(|(key, _)| self.counters_of(*key, now))
            .collect::<Option<Vec<_>>>()
            .ok_or(Refused::Full)?;
        let mut locked: Vec<_> = counters.iter().map(|counters| lock(counters)).collect();

        let together = || limited.iter().map(|(_, limits)| limits);
        let refusals = together()
            .zip(&mut locked)
            .filter_map(|(limits, counters)| counters.check(limits, estimated_tokens, now).err());
        if let Some(refusal) = refusals.reduce(slower) {
            return Err(refusal.into());
        }
        let charges: Vec<_> = locked
            .iter_mut()
            .map(|counters| counters.charge(estimated_tokens, now))
            .collect();
        let status = together()
            .zip(&mut locked)
            .map(|(limits, counters)| counters.status(limits, now))
            .fold(RateStatus::default(), tighter);
        drop(locked);
        let holdings = counters
            .into_iter()
            .zip(charges)
            .map(|(counters, charge)| Holding { counters, charge })
            .collect();
        Ok(Admission { holdings, status })
    }

    /// How many keys and accounts are remembered.
    pub fn tracked_keys(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).counters.len())
            .sum()
    }

    /// The counters of a key, new ones if it has none; `None` if there is no room.
    fn counters_of(&self, key: LimitKey, now: Moment) -> Option<Arc<Mutex<Counters>>> {
        // The remainder is below the number of shards.
        let index = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        let mut shard = lock(self.shards.get(index)?);
        if let Some(counters) = shard.counters.get(&key) {
            return Some(Arc::clone(counters));
        }
        shard.make_room(self.most_keys_per_shard, now);
        if shard.counters.len() >= self.most_keys_per_shard {
            return None;
        }
        Some(Arc::clone(shard.counters.entry(key).or_default()))
    }
}

impl Shard {
    /// Forgets empty counters now and then: each sweep is paid for by as many insertions as it looks at entries.
    fn make_room(&mut self, most_keys: usize, now: Moment) {
        let full = self.counters.len() >= most_keys && now.0 >= self.sweep_full_from;
        if !full && self.counters.len() < self.sweep_at_size.max(SWEEP_FROM) {
            return;
        }
        // Counters that someone holds are in use, or will be in a moment.
        self.counters.retain(|_, counters| {
            Arc::strong_count(counters) > 1 || !lock(counters).are_empty(now)
        });
        self.sweep_at_size = self.counters.len().saturating_mul(2);
        self.sweep_full_from = now.0.saturating_add(SWEEP_FULL_EVERY_MS);
    }
}

impl Admission {
    /// Where the limits stand with this request counted.
    pub const fn status(&self) -> &RateStatus {
        &self.status
    }

    /// Replaces the estimate by the tokens that the request really took. What exceeds the estimate counts from now on,
    /// and may go beyond the limit: those tokens are spent.
    pub fn settle_tokens(&mut self, actual: u64, now: Moment) {
        for holding in &mut self.holdings {
            lock(&holding.counters).settle(&mut holding.charge, actual, now);
        }
    }

    /// Ends a request that failed before its first byte: it counts for nothing.
    pub fn refund(self) {
        for holding in &self.holdings {
            lock(&holding.counters).refund(&holding.charge);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        for holding in &self.holdings {
            lock(&holding.counters).end();
        }
    }
}

/// Counters stay whole when a thread dies: they are changed by steps that can't panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
