//! Requests that run: those older than a second are written down, so that a crash forgets none (design §3, Crash).

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use airouter_billing::event::{RequestFacts, Served};
use airouter_billing::recovery::PendingReason;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{RequestId, Timestamp};
use airouter_store::idempotency::Claim;
use airouter_store::settlements::PendingRequest;

use crate::settle::Settler;

/// A request is written down at this age. The promise is one second; this leaves time for the commit.
const WRITE_DOWN_AFTER: Duration = Duration::from_millis(700);

/// One request that runs.
pub(crate) struct Running {
    facts: RequestFacts,
    holds: Vec<BudgetCharge>,
    claim: Option<Claim>,
    since: Instant,
    state: Mutex<State>,
}

/// Whether the database knows of a request that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenDown {
    /// It does.
    Yes,
    /// It does not.
    No,
}

#[derive(Default)]
struct State {
    served: Option<Served>,
    /// What the database was told last.
    written: Option<Served>,
    is_settled: bool,
}

impl Running {
    /// What is known since its admission.
    pub(crate) fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    /// It was sent to a master account, or its generation became known.
    pub(crate) fn served_by(&self, served: Served) {
        self.lock().served = Some(served);
    }

    /// It is about to be settled: from now on it is not written down any more. Returns whether it was.
    pub(crate) fn settled(&self) -> WrittenDown {
        let mut state = self.lock();
        state.is_settled = true;
        if state.written.is_none() {
            WrittenDown::No
        } else {
            WrittenDown::Yes
        }
    }

    /// Writes it down unless the database knows already where it is served; a failover is written anew.
    fn write_down(&self, settler: &Settler, now: Timestamp) {
        let mut state = self.lock();
        if state.is_settled || state.served == state.written {
            return;
        }
        let Some(served) = state.served.clone() else {
            return;
        };
        let pending = PendingRequest {
            request: self.facts.clone(),
            served: served.clone(),
            reason: PendingReason::InFlight,
            holds: self.holds.clone(),
            since: now,
            claim: self.claim,
        };
        // Handed over under the lock: the settlement, which takes it first, can only come behind.
        if settler.note_in_flight(pending) {
            state.written = Some(served);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shards of [`InFlight`], so that requests don't meet at one lock.
const SHARDS: usize = 16;

/// All requests that run.
#[derive(Default)]
pub(crate) struct InFlight {
    /// Oldest first.
    young: [Mutex<VecDeque<Weak<Running>>>; SHARDS],
    /// Until they are dropped, which is after they were handed in for settlement.
    old: Mutex<Vec<Weak<Running>>>,
}

impl InFlight {
    /// A request was admitted.
    pub(crate) fn add(
        &self,
        facts: RequestFacts,
        holds: Vec<BudgetCharge>,
        claim: Option<Claim>,
    ) -> Arc<Running> {
        // The last byte of a UUID is random.
        let shard = &self.young[usize::from(facts.id.get().as_bytes()[15]) % SHARDS];
        let running = Arc::new(Running {
            facts,
            holds,
            claim,
            since: Instant::now(),
            state: Mutex::default(),
        });
        let mut young = shard.lock().unwrap_or_else(PoisonError::into_inner);
        young.push_back(Arc::downgrade(&running));
        running
    }

    /// Writes down what has become old enough. Called every tenth of a second.
    pub(crate) fn write_down(&self, settler: &Settler, now: Timestamp) {
        self.write_down_from(WRITE_DOWN_AFTER, settler, now);
    }

    /// This process has another number: what it wrote down under the old one belongs to nobody any more, and is written
    /// anew.
    pub(crate) fn forget_what_was_written(&self) {
        let old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        for running in old.iter().filter_map(Weak::upgrade) {
            running.lock().written = None;
        }
    }

    /// Whether a request that was written down still runs here.
    pub(crate) fn runs(&self, request: RequestId) -> bool {
        let old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        old.iter()
            .filter_map(Weak::upgrade)
            .any(|running| running.facts.id == request && !running.lock().is_settled)
    }

    /// Those that may have been written down and have not been handed in for settlement yet.
    pub(crate) fn known(&self) -> HashSet<RequestId> {
        let old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        old.iter()
            .filter_map(Weak::upgrade)
            .map(|running| running.facts.id)
            .collect()
    }

    /// Writes down everything: the process ends before the requests do.
    pub(crate) fn write_all_down(&self, settler: &Settler, now: Timestamp) {
        self.write_down_from(Duration::ZERO, settler, now);
    }

    fn write_down_from(&self, age: Duration, settler: &Settler, now: Timestamp) {
        let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &self.young {
            old.extend(take_grown(shard, age));
        }
        old.retain(|running| {
            let running = running.upgrade();
            if let Some(running) = &running {
                running.write_down(settler, now);
            }
            running.is_some()
        });
    }
}

fn take_grown(shard: &Mutex<VecDeque<Weak<Running>>>, age: Duration) -> Vec<Weak<Running>> {
    let mut young = shard.lock().unwrap_or_else(PoisonError::into_inner);
    let mut grown = Vec::new();
    while let Some(first) = young.front() {
        if let Some(running) = first.upgrade() {
            if running.since.elapsed() < age {
                break;
            }
            grown.push(Weak::clone(first));
        }
        young.pop_front();
    }
    grown
}
