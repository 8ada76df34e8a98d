//! A request that was admitted, and what becomes of what it was counted for.

use std::sync::Arc;

use crate::counters::Charge;
use crate::share::Queued;
use crate::sharing::Sharing;
use crate::table::{Entry, State};
use crate::window::Moment;
use crate::{LimitKind, RateStatus};

/// A request that was admitted. It runs until this is dropped.
#[derive(Debug)]
#[must_use = "dropping an admission ends the request for the concurrency limit"]
pub struct Admission {
    holdings: Vec<Holding>,
    status: RateStatus,
    sharing: Option<Arc<Sharing>>,
}

#[derive(Debug)]
pub(crate) struct Holding {
    pub(crate) entry: Arc<Entry>,
    pub(crate) charge: Charge,
}

impl Admission {
    pub(crate) const fn new(
        holdings: Vec<Holding>,
        status: RateStatus,
        sharing: Option<Arc<Sharing>>,
    ) -> Self {
        Self {
            holdings,
            status,
            sharing,
        }
    }

    /// Where the limits stand with this request counted.
    pub const fn status(&self) -> &RateStatus {
        &self.status
    }

    /// Replaces the estimate by the tokens that the request really took. What exceeds the estimate counts from now on,
    /// and may go beyond the limit: those tokens are spent.
    pub fn settle_tokens(&mut self, actual: u64, now: Moment) {
        let sharing = self.sharing.as_deref();
        for holding in &mut self.holdings {
            let charge = &mut holding.charge;
            change(&holding.entry, sharing, |state| {
                let excess = state.counters.settle(charge, actual, now);
                if let Some(share) = &mut state.share {
                    share.exceeded(LimitKind::Tokens, excess);
                }
            });
        }
    }

    /// Ends a request that failed before its first byte: it counts for nothing.
    pub fn refund(self) {
        for holding in &self.holdings {
            change(&holding.entry, self.sharing.as_deref(), |state| {
                state.counters.refund(&holding.charge);
            });
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        for holding in &self.holdings {
            change(&holding.entry, self.sharing.as_deref(), |state| {
                state.counters.end();
            });
        }
    }
}

/// Changes counters, and has the change posted.
fn change(entry: &Arc<Entry>, sharing: Option<&Sharing>, change: impl FnOnce(&mut State)) {
    let mut state = entry.lock();
    change(&mut state);
    if let (Some(sharing), Some(share)) = (sharing, &mut state.share) {
        sharing.queue(entry, share, Queued::Soon);
    }
}
