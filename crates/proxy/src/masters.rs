//! Master accounts as requests see them: which to ask, how they are, and what they have left.

mod account;
mod breaker;
mod choice;
mod credit;
mod follow;
mod free_quota;
mod health;
mod key;
mod recent;
mod retry_budget;
mod shared_breaker;
mod turn;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use airouter_billing::{MasterAccountId, Timestamp};
use airouter_store::master_accounts::UpstreamKind;
use rust_decimal::Decimal;

use crate::offers::Servers;

pub use account::{Master, MasterParts, UnusableMaster};
pub(crate) use choice::Route;
pub(crate) use follow::follow;
pub(crate) use free_quota::{FreeQuota, PER_MINUTE, is_free, per_day, share as share_free_quota};
pub use health::{KeyHealth, MasterHealth, Passing};
pub(crate) use key::{Issuer, MasterKey};
pub(crate) use turn::{OnMaster, Turn};
pub(crate) use verdict::Verdict;

/// All master accounts, as of one moment.
#[derive(Default)]
pub struct Masters {
    all: Vec<Arc<Master>>,
    resting: Vec<Arc<Master>>,
}

impl Masters {
    /// These master accounts; `resting` ones serve no request, but know what they served.
    pub fn new(all: Vec<Arc<Master>>, resting: Vec<Arc<Master>>) -> Self {
        Self { all, resting }
    }

    /// All that serve.
    pub fn all(&self) -> &[Arc<Master>] {
        &self.all
    }

    /// All there are.
    pub fn known(&self) -> impl Iterator<Item = &Arc<Master>> {
        self.all.iter().chain(&self.resting)
    }

    /// The one with this id, whether or not it serves.
    pub fn get(&self, id: MasterAccountId) -> Option<&Arc<Master>> {
        self.known().find(|master| master.id == id)
    }

    /// Requests that run on them.
    pub fn in_flight(&self) -> usize {
        self.known().map(|master| master.in_flight()).sum()
    }

    /// Those at OpenRouter.
    pub(crate) fn at_openrouter(&self) -> impl Iterator<Item = &Arc<Master>> {
        self.all
            .iter()
            .filter(|master| master.kind == UpstreamKind::OpenRouter)
    }

    /// What one dollar of list cost costs at the dearest of those at OpenRouter.
    pub fn dearest_cost_share(&self) -> Decimal {
        self.at_openrouter()
            .map(|master| master.discount.cost_share())
            .max()
            .unwrap_or(Decimal::ONE)
    }

    /// What one dollar of list cost costs at the cheapest of those at OpenRouter.
    pub fn cheapest_cost_share(&self) -> Decimal {
        self.at_openrouter()
            .map(|master| master.discount.cost_share())
            .min()
            .unwrap_or(Decimal::ONE)
    }

    /// Where every account that may serve asked to be left alone: until the first of them may be asked again.
    pub(crate) fn told_wait(&self, servers: &Servers, now: Timestamp) -> Option<Duration> {
        let serving = self.all.iter();
        let serving = serving.filter(|master| servers.fit(master).is_some());
        let waits = serving.map(|master| master.told_wait(now));
        waits.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Shows how all of them are.
    pub(crate) fn show(&self, now: Timestamp) {
        let total = self.recent(now);
        for master in self.known() {
            master.show(total, now);
        }
    }

    /// Requests of the last minute.
    fn recent(&self, now: Timestamp) -> u64 {
        self.all
            .iter()
            .map(|master| master.state.recent.count(now))
            .sum()
    }
}
