//! What other replicas have used, as far as is known.

use crate::board::Leaving;
use crate::window::Moment;

/// What other replicas have used and reserved, as of the last answer.
#[derive(Debug, Default)]
pub(crate) struct Others {
    total: u64,
    /// When all of it has left the window.
    pub(crate) gone_at: Moment,
    /// When each part of it leaves, soonest first; empty where that was not told.
    pub(crate) leaving: Vec<(Moment, u64)>,
}

impl Others {
    pub(crate) fn new(total: u64, last_after_ms: u64, leaving: &[Leaving], now: Moment) -> Self {
        let mut leaving: Vec<_> = leaving
            .iter()
            .map(|part| (now.plus(part.after_ms), part.amount))
            .collect();
        leaving.sort_unstable();
        Self {
            total,
            gone_at: now.plus(last_after_ms),
            leaving,
        }
    }

    /// What is left of it.
    pub(crate) fn total_at(&self, now: Moment) -> u64 {
        if self.gone_at <= now {
            return 0;
        }
        let gone = self.leaving.iter().take_while(|(at, _)| *at <= now);
        self.total
            .saturating_sub(gone.map(|(_, amount)| amount).sum())
    }
}
