//! The quota of `:free` models, which upstreams give to an account and not to a key (wire-contract §1.4): counted, and
//! shared fairly among the tenants who want of it, by the minute and by the day.
//!
//! Max-min fairness: who has used less than its part is served as long as anything is free; who has used more gets only
//! what the others' parts leave. Of a minute, one tenant alone may use all; when a second one comes, what the window sets
//! free is its until it has its part. What is kept of a day is in [`day`].
//!
//! Each replica counts what it asked itself. What others have used of the day it reads in the database ([`sharing`]); that
//! they have used the minute up, the shared rate limits tell it, and of what nobody counted the upstream's 429.

mod day;
mod sharing;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use airouter_billing::{AccountId, MasterAccountId, Nanos, Timestamp};
use airouter_store::master_accounts::CreditReading;
use uuid::Uuid;

use day::{DAY_MICROS, Day};
pub(crate) use sharing::share;

/// Requests a minute of an account.
pub(crate) const PER_MINUTE: u32 = 20;
/// Requests a day of an account that ever bought [`ENOUGH_BOUGHT`].
const PER_DAY: u32 = 1_000;
/// And of one that did not.
const PER_DAY_OF_POOR: u32 = 50;
/// 10 credits.
const ENOUGH_BOUGHT: Nanos = Nanos::new(10_000_000_000);
const MINUTE: i64 = 60;
/// For a 429 that doesn't say how long.
const UNTOLD: Duration = Duration::from_secs(60);
/// Tenants that are remembered at the same time.
const MOST_TENANTS: usize = 10_000;

/// Whether a model is one of those, or the router to them (OpenRouter: Free Models Router).
pub(crate) fn is_free(model: &str) -> bool {
    model.ends_with(":free") || model == "openrouter/free"
}

/// Requests of `:free` models that an account may make in a day (UTC). Of what isn't known of its credit, the better is
/// believed: nobody resells with an account that never bought.
pub(crate) fn per_day(credit: Option<&CreditReading>) -> u32 {
    match credit {
        Some(reading) if reading.bought < ENOUGH_BOUGHT => PER_DAY_OF_POOR,
        Some(_) | None => PER_DAY,
    }
}

/// Who may use how much of it now.
#[derive(Debug)]
pub(crate) struct FreeQuota {
    counts: Mutex<Counts>,
    /// Under which name it writes down what it has counted.
    counter: Uuid,
}

#[derive(Debug, Default)]
struct Counts {
    accounts: HashMap<MasterAccountId, AccountUse>,
    tenants: HashMap<AccountId, TenantUse>,
    day: Day,
    /// When somebody asked last.
    asked_at: Option<Timestamp>,
    /// When it was asked last what others have used.
    looked_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct AccountUse {
    minute: VecDeque<Timestamp>,
    /// Its upstream, or another replica, says that nothing is left.
    used_up_until: Timestamp,
}

#[derive(Debug, Default)]
struct TenantUse {
    minute: VecDeque<Timestamp>,
    asked_at: Timestamp,
}

impl Default for FreeQuota {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            counter: Uuid::now_v7(),
        }
    }
}

impl FreeQuota {
    /// Lets a tenant use one request of what these accounts have, or says how long to wait. The accounts come with their
    /// requests a day.
    pub(crate) fn admit(
        &self,
        tenant: AccountId,
        accounts: &[(MasterAccountId, u32)],
        now: Timestamp,
    ) -> Result<(), Duration> {
        self.counts().admit(tenant, accounts, now)
    }

    /// Counts a request on an account, if it has one left.
    pub(crate) fn take(&self, account: MasterAccountId, per_day: u32, now: Timestamp) -> bool {
        let mut counts = self.counts();
        if counts.left(account, per_day, now) == 0 {
            return false;
        }
        counts
            .accounts
            .entry(account)
            .or_default()
            .minute
            .push_back(now);
        counts.day.count_on(account);
        true
    }

    /// Somebody else knows that an account has nothing left for so long.
    pub(crate) fn used_up(&self, account: MasterAccountId, wait: Option<Duration>, now: Timestamp) {
        let micros = i64::try_from(wait.unwrap_or(UNTOLD).as_micros()).unwrap_or(DAY_MICROS);
        let until = Timestamp::from_micros(now.as_micros().saturating_add(micros));
        let mut counts = self.counts();
        let used = counts.accounts.entry(account).or_default();
        used.used_up_until = used.used_up_until.max(until);
    }

    /// How long until one of these accounts has something left.
    pub(crate) fn wait(&self, accounts: &[(MasterAccountId, u32)], now: Timestamp) -> Duration {
        self.counts().wait(accounts, now)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn admit(
        &mut self,
        tenant: AccountId,
        accounts: &[(MasterAccountId, u32)],
        now: Timestamp,
    ) -> Result<(), Duration> {
        self.asked_at = Some(now);
        self.tenants.retain(|_, tenant| tenant.is_active(now));
        if self.tenants.len() >= MOST_TENANTS && !self.tenants.contains_key(&tenant) {
            return Err(Duration::from_secs(1));
        }
        self.tenants.entry(tenant).or_default().asked_at = now;
        let free = self.share_of_minute(tenant, accounts, now)?;
        let of_day = accounts
            .iter()
            .map(|(account, per_day)| self.left_of_day(*account, *per_day, now))
            .fold(0, u32::saturating_add);
        self.day.share(tenant, of_day.max(free), now)?;
        self.tenants
            .entry(tenant)
            .or_default()
            .minute
            .push_back(now);
        self.day.count_of(tenant);
        Ok(())
    }

    /// Whether a tenant may use one of what is free now; if so, how much that is.
    fn share_of_minute(
        &mut self,
        tenant: AccountId,
        accounts: &[(MasterAccountId, u32)],
        now: Timestamp,
    ) -> Result<u32, Duration> {
        let (mut capacity, mut free) = (0, 0);
        for (account, per_day) in accounts {
            let left = self.left(*account, *per_day, now);
            free += left;
            capacity += left + self.of_minute(*account);
        }
        if free == 0 {
            return Err(self.wait(accounts, now));
        }
        let active = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        let part = (capacity / active.max(1)).max(1);
        let of_others: u32 = self
            .tenants
            .iter()
            .filter(|(other, _)| **other != tenant)
            .map(|(_, used)| part.saturating_sub(used.count()))
            .fold(0, u32::saturating_add);
        let own = self.tenants.entry(tenant).or_default();
        if own.count() >= part && free <= of_others {
            return Err(own.wait(now));
        }
        Ok(free)
    }

    fn wait(&mut self, accounts: &[(MasterAccountId, u32)], now: Timestamp) -> Duration {
        let waits = accounts
            .iter()
            .map(|(account, per_day)| self.wait_for(*account, *per_day, now));
        waits.min().unwrap_or(UNTOLD)
    }

    fn of_minute(&self, account: MasterAccountId) -> u32 {
        let used = self.accounts.get(&account);
        used.map_or(0, |used| {
            u32::try_from(used.minute.len()).unwrap_or(u32::MAX)
        })
    }

    /// What an account has left now.
    fn left(&mut self, account: MasterAccountId, per_day: u32, now: Timestamp) -> u32 {
        self.day.turn(now);
        let used = self.accounts.entry(account).or_default();
        forget(&mut used.minute, now);
        if used.used_up_until > now {
            return 0;
        }
        let minute = PER_MINUTE.saturating_sub(self.of_minute(account));
        minute.min(per_day.saturating_sub(self.day.on(account)))
    }

    /// What it has left of the day. What its upstream says to be used up for longer than a minute is the day's.
    fn left_of_day(&self, account: MasterAccountId, per_day: u32, now: Timestamp) -> u32 {
        let used = self.accounts.get(&account);
        let is_used_up = used.is_some_and(|used| used.used_up_until > now.plus_seconds(MINUTE));
        match is_used_up {
            true => 0,
            false => per_day.saturating_sub(self.day.on(account)),
        }
    }

    fn wait_for(&mut self, account: MasterAccountId, per_day: u32, now: Timestamp) -> Duration {
        if self.left(account, per_day, now) > 0 {
            return Duration::ZERO;
        }
        let used = self.accounts.entry(account).or_default();
        let told = Duration::from_micros(used.used_up_until.micros_since(now));
        let counted = if self.day.on(account) >= per_day {
            self.day.rest(now)
        } else if used.minute.len() >= PER_MINUTE as usize {
            until_oldest_leaves(&used.minute, now)
        } else {
            Duration::ZERO
        };
        told.max(counted)
    }
}

impl TenantUse {
    /// Whether it used or wanted any in the last minute.
    fn is_active(&mut self, now: Timestamp) -> bool {
        forget(&mut self.minute, now);
        !self.minute.is_empty() || self.asked_at.plus_seconds(MINUTE) > now
    }

    fn count(&self) -> u32 {
        u32::try_from(self.minute.len()).unwrap_or(u32::MAX)
    }

    fn wait(&self, now: Timestamp) -> Duration {
        until_oldest_leaves(&self.minute, now)
    }
}

fn forget(minute: &mut VecDeque<Timestamp>, now: Timestamp) {
    while minute
        .front()
        .is_some_and(|oldest| oldest.plus_seconds(MINUTE) <= now)
    {
        minute.pop_front();
    }
}

fn until_oldest_leaves(minute: &VecDeque<Timestamp>, now: Timestamp) -> Duration {
    let leaves = minute.front().map(|oldest| oldest.plus_seconds(MINUTE));
    Duration::from_micros(leaves.map_or(0, |leaves| leaves.micros_since(now)))
}

#[cfg(test)]
mod tests;
