//! An attempt on a master account, from the choice until its outcome is known and until it has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use airouter_billing::Timestamp;

use super::account::Master;
use super::breaker::Pass;
use super::key::MasterKey;
use super::verdict::Verdict;
use crate::metrics::BreakerState;

/// Leave to ask a master account once, with one of its keys.
pub(crate) struct Turn {
    pub(crate) on: OnMaster,
    pub(crate) outcome: Outcome,
}

impl Turn {
    pub(super) fn new(
        master: Arc<Master>,
        pass: Pass,
        key: Arc<MasterKey>,
        key_pass: Pass,
        now: Timestamp,
    ) -> Self {
        let outcome = Outcome {
            master: Arc::clone(&master),
            key: Arc::clone(&key),
            passes: Some((pass, key_pass)),
            now,
        };
        Self {
            on: OnMaster::new(master, key, now),
            outcome,
        }
    }
}

/// A request that runs on a master account, until it is dropped.
pub(crate) struct OnMaster {
    pub(crate) master: Arc<Master>,
    pub(crate) key: Arc<MasterKey>,
}

impl OnMaster {
    fn new(master: Arc<Master>, key: Arc<MasterKey>, now: Timestamp) -> Self {
        master.state.in_flight.fetch_add(1, Ordering::Relaxed);
        master.state.recent.add(now);
        master.state.retries.earn();
        master.metrics.attempted();
        key.begin();
        Self { master, key }
    }
}

impl Drop for OnMaster {
    fn drop(&mut self) {
        self.master.state.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.key.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the attempt finds out about the account. Dropped untold, it says nothing.
pub(crate) struct Outcome {
    master: Arc<Master>,
    key: Arc<MasterKey>,
    passes: Option<(Pass, Pass)>,
    now: Timestamp,
}

impl Outcome {
    /// The account answers.
    pub(crate) fn well(mut self, now: Timestamp) {
        let Some((pass, key_pass)) = self.passes.take() else {
            return;
        };
        let master = &self.master;
        let closed = master.state.breaker.succeeded(pass, now);
        let key_closed = self.key.state.breaker.succeeded(key_pass, now);
        if closed || key_closed {
            master.metrics.set_breaker(BreakerState::Closed);
            tracing::info!(
                master_account = master.name,
                "a master account serves again"
            );
        }
    }

    /// The attempt failed.
    pub(crate) fn failed(mut self, verdict: Verdict, now: Timestamp) {
        if verdict == Verdict::NotTheirs {
            return self.well(now);
        }
        let Some((pass, key_pass)) = self.passes.take() else {
            return;
        };
        let (master, key) = (&self.master.state.breaker, &self.key.state.breaker);
        let (opened, what) = match verdict {
            Verdict::Account(blow) => {
                key.abandoned(key_pass, now);
                (master.failed(pass, blow, now), "account")
            }
            Verdict::Key(blow) => {
                master.abandoned(pass, now);
                (key.failed(key_pass, blow, now), "key")
            }
            Verdict::NotTheirs => return,
        };
        if opened {
            if self.master.is_open(now) {
                self.master.metrics.set_breaker(BreakerState::Open);
            }
            tracing::warn!(
                master_account = self.master.name,
                key = %self.key.id,
                what,
                ?verdict,
                "put aside at a master account"
            );
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if let Some((pass, key_pass)) = self.passes.take() {
            self.master.state.breaker.abandoned(pass, self.now);
            self.key.state.breaker.abandoned(key_pass, self.now);
        }
    }
}
