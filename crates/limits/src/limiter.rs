//! Admission: a request is counted for all of its keys, or for none.

use std::sync::{Arc, MutexGuard};

use crate::admission::{Admission, Holding};
use crate::counters::{slower, tighter};
use crate::kinds::ByKind;
use crate::publisher::{Publisher, Timings};
use crate::redis_board::RedisBoard;
use crate::share::Standing;
use crate::sharing::{Sharing, SharingStatus};
use crate::table::{Entry, State, Table};
use crate::window::Moment;
use crate::{Clock, LimitKey, RateLimited, RateLimits, RateStatus};

/// Counts the requests and tokens of keys that have limits. Time is the caller's.
///
/// A limiter of its own is exact. One that shares its counters with other replicas is exact too as long as nobody else
/// uses a key; together replicas stay below a tenth beyond each limit. Most requests wait for nobody: what they use is
/// posted a moment later. Where the board can't be reached, each replica counts by itself.
#[derive(Debug)]
pub struct Limiter {
    table: Table,
    sharing: Option<Arc<Sharing>>,
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

/// A request, and the keys for which it is counted.
struct Asking<'a> {
    limited: &'a [&'a (LimitKey, RateLimits)],
    entries: &'a [Arc<Entry>],
    needs: ByKind<u64>,
    now: Moment,
}

enum Attempt {
    Admitted(Admission),
    Refused(RateLimited),
    /// Other replicas must be asked about the keys for which this is true.
    Ask(Vec<bool>),
}

impl Limiter {
    /// A limiter that counts by itself and remembers about `most_keys` active keys and accounts (at most some kilobytes
    /// each).
    pub fn new(most_keys: usize) -> Self {
        Self {
            table: Table::new(most_keys),
            sharing: None,
        }
    }

    /// A limiter that shares its counters through Redis, and the work that must run for it: until then, and whenever Redis
    /// is away, it counts by itself. `clock` tells the same time as the moments of requests.
    pub fn shared(
        most_keys: usize,
        board: RedisBoard,
        clock: Clock,
    ) -> (Self, Publisher<RedisBoard>) {
        Self::on_board(most_keys, board, clock, Timings::default())
    }

    pub(crate) fn on_board<B>(
        most_keys: usize,
        board: B,
        clock: Clock,
        timings: Timings,
    ) -> (Self, Publisher<B>) {
        let sharing = Arc::new(Sharing::new(timings.longest_wait));
        let limiter = Self {
            table: Table::new(most_keys),
            sharing: Some(Arc::clone(&sharing)),
        };
        (limiter, Publisher::new(board, sharing, clock, timings))
    }

    /// Admits a request if it fits the limits of all these keys, and then counts it for all; else it counts for none.
    /// Costs next to nothing where there are no limits. A key that is given twice counts once, with the first limits.
    ///
    /// Mostly ready at once. Waits, for some milliseconds at most, where only other replicas can tell whether the request
    /// fits.
    pub async fn admit(
        &self,
        keys: &[(LimitKey, RateLimits)],
        estimated_tokens: u64,
        now: Moment,
    ) -> Result<Admission, Refused> {
        let limited = keys.iter().filter(|(_, limits)| !limits.is_unlimited());
        let mut limited: Vec<_> = limited.collect();
        if limited.is_empty() {
            return Ok(Admission::new(Vec::new(), RateStatus::default(), None));
        }
        // Everyone locks in the order of keys, so that nobody waits in a circle.
        limited.sort_by_key(|(key, _)| *key);
        limited.dedup_by_key(|(key, _)| *key);
        let entries = limited
            .iter()
            .map(|(key, _)| self.table.entry(*key, now))
            .collect::<Option<Vec<_>>>()
            .ok_or(Refused::Full)?;
        let asking = Asking {
            limited: &limited,
            entries: &entries,
            needs: ByKind {
                requests: 1,
                tokens: estimated_tokens,
                concurrency: 1,
            },
            now,
        };
        match self.attempt(&asking, self.sharing.as_deref()) {
            Attempt::Admitted(admission) => Ok(admission),
            Attempt::Refused(refusal) => Err(refusal.into()),
            Attempt::Ask(whom) => Ok(self.ask(&asking, whom).await?),
        }
    }

    /// Why a request would not be admitted now, as far as this replica knows; counts nothing and asks nobody.
    pub fn look(
        &self,
        keys: &[(LimitKey, RateLimits)],
        estimated_tokens: u64,
        now: Moment,
    ) -> Result<(), Refused> {
        let mut refusal: Option<RateLimited> = None;
        let limited = keys.iter().filter(|(_, limits)| !limits.is_unlimited());
        for (key, limits) in limited {
            let entry = self.table.entry(*key, now).ok_or(Refused::Full)?;
            let mut state = entry.lock();
            let State { counters, share } = &mut *state;
            let checked = match share {
                Some(share) => share.look(counters, limits, estimated_tokens, now),
                None => counters.check(limits, estimated_tokens, now),
            };
            if let Err(other) = checked {
                refusal = Some(refusal.map_or(other, |one| slower(one, other)));
            }
        }
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Whether counters are shared now; `None` if they never are.
    pub fn sharing(&self) -> Option<SharingStatus> {
        self.sharing.as_ref().map(|sharing| sharing.status())
    }

    /// Whether the board knows all that was counted for a key.
    #[cfg(test)]
    pub(crate) fn is_posted(&self, key: LimitKey, now: Moment) -> bool {
        let entry = self.table.entry(key, now).unwrap();
        let state = entry.lock();
        state.share.as_ref().is_none_or(|share| share.is_posted())
    }

    /// How many keys and accounts are remembered.
    pub fn tracked_keys(&self) -> usize {
        self.table.len()
    }

    /// Asks other replicas until that settles it; if they don't answer in time, this one decides by itself.
    async fn ask(
        &self,
        asking: &Asking<'_>,
        mut whom: Vec<bool>,
    ) -> Result<Admission, RateLimited> {
        let mut sharing = self.sharing.as_deref();
        let deadline = sharing.map(Sharing::deadline);
        loop {
            if let (Some(board), Some(deadline)) = (sharing, deadline) {
                let entries = asking.entries.iter().zip(&whom);
                let entries = entries.filter_map(|(entry, asks)| asks.then_some(entry));
                if !board.ask(entries, &asking.needs, deadline).await {
                    board.fell_back();
                    sharing = None;
                }
            }
            match self.attempt(asking, sharing) {
                Attempt::Admitted(admission) => return Ok(admission),
                Attempt::Refused(refusal) => return Err(refusal),
                Attempt::Ask(again) => whom = again,
            }
        }
    }

    /// Admits or refuses a request, by its own counters alone if not given the board.
    fn attempt(&self, asking: &Asking<'_>, board: Option<&Sharing>) -> Attempt {
        let mut locked: Vec<_> = asking.entries.iter().map(|entry| entry.lock()).collect();
        if let Some(refusal) = asking.own_refusal(&mut locked) {
            return Attempt::Refused(refusal);
        }
        if self.sharing.is_some() {
            for (state, (_, limits)) in locked.iter_mut().zip(asking.limited) {
                state
                    .share
                    .get_or_insert_with(Box::default)
                    .set_limits(limits);
            }
        }
        match board {
            Some(board) if board.is_up() => {
                if let Some(attempt) = asking.of_others(&mut locked, board.replicas()) {
                    return attempt;
                }
            }
            Some(board) => board.fell_back(),
            None => {}
        }
        Attempt::Admitted(self.charge(asking, &mut locked))
    }

    fn charge(&self, asking: &Asking<'_>, locked: &mut [MutexGuard<'_, State>]) -> Admission {
        let mut status = RateStatus::default();
        let mut holdings = Vec::with_capacity(locked.len());
        let each = asking.entries.iter().zip(asking.limited).zip(locked);
        for ((entry, (_, limits)), state) in each {
            let State { counters, share } = &mut **state;
            let charge = counters.charge(asking.needs.tokens, asking.now);
            let mut left = counters.status(limits, asking.now);
            if let (Some(sharing), Some(share)) = (&self.sharing, share) {
                let soon = share.admitted(&asking.needs, sharing.replicas(), asking.now);
                share.count_others(&mut left, asking.now);
                sharing.queue(entry, share, soon);
            }
            status = tighter(status, left);
            holdings.push(Holding {
                entry: Arc::clone(entry),
                charge,
            });
        }
        Admission::new(holdings, status, self.sharing.clone())
    }
}

impl Asking<'_> {
    /// Why it does not fit what this replica itself has counted; of several limits the slowest to clear.
    fn own_refusal(&self, locked: &mut [MutexGuard<'_, State>]) -> Option<RateLimited> {
        let each = self.limited.iter().zip(locked);
        let refusals = each.filter_map(|((_, limits), state)| {
            state
                .counters
                .check(limits, self.needs.tokens, self.now)
                .err()
        });
        refusals.reduce(slower)
    }

    /// Why it can't be admitted as far as other replicas are concerned.
    fn of_others(&self, locked: &mut [MutexGuard<'_, State>], replicas: u32) -> Option<Attempt> {
        let mut refusal = None;
        let mut whom = Vec::new();
        let of = locked.len();
        for (index, state) in locked.iter_mut().enumerate() {
            let State { counters, share } = &mut **state;
            let Some(share) = share else { continue };
            match share.standing(counters, &self.needs, replicas, self.now) {
                Standing::Admit => {}
                Standing::Refuse(other) => {
                    refusal = Some(refusal.map_or(other, |one| slower(one, other)));
                }
                Standing::Ask => {
                    whom.resize(of, false);
                    whom[index] = true;
                }
            }
        }
        match refusal {
            Some(refusal) => Some(Attempt::Refused(refusal)),
            None => (!whom.is_empty()).then_some(Attempt::Ask(whom)),
        }
    }
}

#[cfg(test)]
mod tests;
