//! How often requests may be repeated on one account: a tenth of its traffic, and no more than ten at once.

use std::sync::atomic::{AtomicU32, Ordering};

/// What a repeat takes; every request brings one.
const REPEAT: u32 = 10;
/// The most that is saved up.
const MOST: u32 = 100;

/// A token bucket, filled by requests.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(MOST))
    }
}

impl RetryBudget {
    /// A request begins.
    pub(super) fn earn(&self) {
        // Two at once may overfill it by a few: nobody minds.
        if self.0.load(Ordering::Relaxed) < MOST {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a repeat out, if there is one.
    pub(super) fn spend(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                saved.checked_sub(REPEAT)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_tenth_of_requests() {
        let budget = RetryBudget::default();
        let at_once = (0..1_000).filter(|_| budget.spend()).count();
        assert_eq!(at_once, 10);
        let mut repeats = 0;
        for _ in 0..1_000 {
            budget.earn();
            repeats += u32::from(budget.spend());
        }
        assert_eq!(repeats, 100);
    }
}
