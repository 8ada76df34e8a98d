//! A day's quota of free models: what was used of it, here and by other replicas, and who may use more.
//!
//! Unlike a minute's, it does not grow back before midnight (UTC), and nobody knows who is still to come. So a part is kept
//! for one more tenant than there were, and what a tenant has not used of its own part is kept for it; both the less, the
//! less is left of the day, so that by its end nothing was kept for nobody.

use std::collections::HashMap;
use std::time::Duration;

use airouter_billing::{AccountId, MasterAccountId, Timestamp};
use airouter_store::free_quota::FreeQuotaUse;

pub(super) const DAY_MICROS: i64 = 86_400_000_000;
const HALF_DAY: u128 = DAY_MICROS as u128 / 2;

/// What was used in one day.
#[derive(Debug, Default)]
pub(super) struct Day {
    /// Days since the epoch.
    number: i64,
    own: Uses,
    others: Uses,
    /// What was counted here is not all written down.
    is_news: bool,
}

#[derive(Debug, Default)]
struct Uses {
    accounts: HashMap<MasterAccountId, u32>,
    tenants: HashMap<AccountId, u32>,
}

impl Day {
    /// Begins anew if another day has come.
    pub(super) fn turn(&mut self, now: Timestamp) {
        let number = now.as_micros().div_euclid(DAY_MICROS);
        if self.number != number {
            *self = Self {
                number,
                ..Self::default()
            };
        }
    }

    /// Requests on an account.
    pub(super) fn on(&self, account: MasterAccountId) -> u32 {
        let of = |uses: &Uses| uses.accounts.get(&account).copied().unwrap_or(0);
        of(&self.own).saturating_add(of(&self.others))
    }

    /// Counts a request on an account.
    pub(super) fn count_on(&mut self, account: MasterAccountId) {
        *self.own.accounts.entry(account).or_default() += 1;
        self.is_news = true;
    }

    /// Counts a request of a tenant.
    pub(super) fn count_of(&mut self, tenant: AccountId) {
        *self.own.tenants.entry(tenant).or_default() += 1;
        self.is_news = true;
    }

    /// Whether a tenant may use one of so many that are `left`; if not, how long to wait.
    pub(super) fn share(
        &self,
        tenant: AccountId,
        left: u32,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let own = self.of(tenant);
        let of_others = self.of_others_than(tenant);
        let tenants = of_others.len() as u64 + 1;
        let used = of_others
            .iter()
            .fold(own, |sum, used| sum.saturating_add(*used));
        let capacity = u64::from(left) + used;
        let to_come = capacity / (tenants + 1);
        let part = (capacity - self.of_rest_of_day(to_come, now)) / tenants;
        if own < part.max(1) {
            return Ok(());
        }
        let unused = of_others.iter().map(|used| part.saturating_sub(*used));
        let kept = unused.fold(to_come, u64::saturating_add);
        let kept_now = self.of_rest_of_day(kept, now);
        if u64::from(left) > kept_now {
            return Ok(());
        }
        // Of what is kept, one is let go in each so many parts of the day.
        let lacking = (kept_now + 1 - u64::from(left)).min(kept);
        let wait = u128::from(lacking) * DAY_MICROS as u128 / u128::from(kept.max(1));
        let wait = Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX));
        Err(wait.min(self.rest(now)))
    }

    /// Until midnight.
    pub(super) fn rest(&self, now: Timestamp) -> Duration {
        let tomorrow = (self.number + 1).saturating_mul(DAY_MICROS);
        Duration::from_micros(Timestamp::from_micros(tomorrow).micros_since(now))
    }

    /// What was counted here and is to be written down, of the day that began then, if there is anything new.
    pub(super) fn news(&mut self) -> Option<(Timestamp, FreeQuotaUse)> {
        std::mem::take(&mut self.is_news).then(|| (self.start(), self.own.as_use()))
    }

    /// When the day began.
    pub(super) fn start(&self) -> Timestamp {
        Timestamp::from_micros(self.number.saturating_mul(DAY_MICROS))
    }

    /// What was to be written down may not be: it is still.
    pub(super) fn not_written(&mut self) {
        self.is_news = true;
    }

    /// What others have counted of the day that began then.
    pub(super) fn learn(&mut self, day: Timestamp, others: FreeQuotaUse) {
        if day == self.start() {
            self.others = Uses {
                accounts: others.accounts.into_iter().collect(),
                tenants: others.tenants.into_iter().collect(),
            };
        }
    }

    fn of(&self, tenant: AccountId) -> u64 {
        let of = |uses: &Uses| u64::from(uses.tenants.get(&tenant).copied().unwrap_or(0));
        of(&self.own) + of(&self.others)
    }

    fn of_others_than(&self, tenant: AccountId) -> Vec<u64> {
        let elsewhere = self.others.tenants.keys();
        let elsewhere = elsewhere.filter(|other| !self.own.tenants.contains_key(other));
        let all = self.own.tenants.keys().chain(elsewhere);
        all.filter(|other| **other != tenant)
            .map(|other| self.of(*other))
            .collect()
    }

    /// The part of an amount that is as large as the rest of the day is of all of it.
    fn of_rest_of_day(&self, amount: u64, now: Timestamp) -> u64 {
        let rest = self.rest(now).as_micros().min(DAY_MICROS as u128);
        let kept = (u128::from(amount) * rest + HALF_DAY) / DAY_MICROS as u128;
        u64::try_from(kept).unwrap_or(amount)
    }
}

impl Uses {
    fn as_use(&self) -> FreeQuotaUse {
        FreeQuotaUse {
            accounts: self
                .accounts
                .iter()
                .map(|(id, used)| (*id, *used))
                .collect(),
            tenants: self.tenants.iter().map(|(id, used)| (*id, *used)).collect(),
        }
    }
}
