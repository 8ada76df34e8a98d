//! A sliding window of one minute: how much was used in it, and when enough will be free again.

use std::collections::VecDeque;

/// The length of the window.
pub const WINDOW_MS: u64 = 60_000;

/// Uses within one tick are counted together and leave the window together. Shorter ticks would follow the window more
/// closely and take more memory (at most 61 ticks a window).
const TICK_MS: u64 = 1_000;

/// A point in time: milliseconds of a monotonic clock since any fixed start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// So many milliseconds later.
    pub(crate) const fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

/// The second in which a use was counted; needed to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

/// Counts uses so that whoever keeps [`SlidingWindow::used`] within a limit stays within it in *every* 60 seconds. A use
/// counts for 60 to 61 seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Oldest first, one for each tick with uses.
    buckets: VecDeque<Bucket>,
    used: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    tick: Tick,
    used: u64,
}

impl Tick {
    fn at(now: Moment) -> Self {
        Self(now.0 / TICK_MS)
    }

    /// When the last use that this tick may hold has left the window.
    fn leaves_at(self) -> Moment {
        Moment(
            (self.0.saturating_add(1))
                .saturating_mul(TICK_MS)
                .saturating_add(WINDOW_MS),
        )
    }
}

impl SlidingWindow {
    /// What counts now.
    pub fn used(&mut self, now: Moment) -> u64 {
        while let Some(oldest) = self
            .buckets
            .front()
            .filter(|oldest| oldest.tick.leaves_at() <= now)
        {
            self.used = self.used.saturating_sub(oldest.used);
            self.buckets.pop_front();
        }
        if self.buckets.is_empty() {
            // Nothing is left: neither a rest of a sum that once saturated, nor memory.
            *self = Self::default();
        }
        self.used
    }

    /// Counts a use. Where clocks of threads disagree, it counts from the latest one on.
    pub fn charge(&mut self, amount: u64, now: Moment) -> Tick {
        self.used = self.used.saturating_add(amount);
        let tick = Tick::at(now);
        match self.buckets.back_mut() {
            Some(latest) if latest.tick >= tick => {
                latest.used = latest.used.saturating_add(amount);
                latest.tick
            }
            _ => {
                self.buckets.push_back(Bucket { tick, used: amount });
                tick
            }
        }
    }

    /// Takes back a use, or a part of it, as if it had not been. Does nothing once it has left the window.
    pub fn give_back(&mut self, amount: u64, tick: Tick) {
        if let Ok(index) = self
            .buckets
            .binary_search_by_key(&tick, |bucket| bucket.tick)
            && let Some(bucket) = self.buckets.get_mut(index)
        {
            let amount = amount.min(bucket.used);
            bucket.used -= amount;
            self.used = self.used.saturating_sub(amount);
        }
    }

    /// Milliseconds until at most `bearable` of what counts now is left. Call [`SlidingWindow::used`] first.
    pub fn until_at_most(&self, bearable: u64, now: Moment) -> u64 {
        let mut left = self.used;
        let mut wait = 0;
        for bucket in &self.buckets {
            if left <= bearable {
                break;
            }
            left = left.saturating_sub(bucket.used);
            wait = bucket.tick.leaves_at().0.saturating_sub(now.0);
        }
        wait
    }

    /// In how many milliseconds how much of what counts now leaves, soonest first. Call [`SlidingWindow::used`] first.
    pub fn leaving(&self, now: Moment) -> impl Iterator<Item = (u64, u64)> {
        self.buckets.iter().map(move |bucket| {
            let after = bucket.tick.leaves_at().0.saturating_sub(now.0);
            (after, bucket.used)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_use_counts_for_a_minute_and_at_most_a_tick_longer() {
        let mut window = SlidingWindow::default();
        window.charge(5, Moment(1_999));
        assert_eq!(window.used(Moment(1_999 + WINDOW_MS)), 5);
        assert_eq!(window.until_at_most(4, Moment(1_999 + WINDOW_MS)), 1);
        assert_eq!(window.used(Moment(2_000 + WINDOW_MS)), 0);
        window.charge(5, Moment(100_000));
        assert_eq!(window.used(Moment(100_999 + WINDOW_MS)), 5);
        assert_eq!(window.used(Moment(101_000 + WINDOW_MS)), 0);
    }

    #[test]
    fn what_is_given_back_is_free_at_once() {
        let mut window = SlidingWindow::default();
        let first = window.charge(5, Moment(0));
        let second = window.charge(7, Moment(3_000));
        window.give_back(4, first);
        assert_eq!(window.used(Moment(3_000)), 8);
        window.give_back(u64::MAX, second);
        assert_eq!(window.used(Moment(3_000)), 1);
        assert_eq!(window.used(first.leaves_at()), 0);
        window.give_back(1, first);
        assert_eq!(window.used(first.leaves_at()), 0);
    }

    #[test]
    fn sums_beyond_64_bits_count_as_too_much_until_they_have_left() {
        let mut window = SlidingWindow::default();
        window.charge(u64::MAX, Moment(0));
        let last = window.charge(u64::MAX, Moment(5_000));
        assert_eq!(window.used(Moment(5_000)), u64::MAX);
        assert_eq!(window.used(last.leaves_at()), 0);
    }

    #[test]
    fn the_end_of_time_does_not_panic() {
        let mut window = SlidingWindow::default();
        window.charge(1, Moment(u64::MAX));
        assert!(window.used(Moment(u64::MAX)) <= 1);
    }

    proptest! {
        /// Against a plain list of all uses: what counts lies between the uses of the last 60 and of the last 61 s.
        #[test]
        fn what_counts_is_what_was_used_in_the_last_minute(
            steps in proptest::collection::vec((0u64..8_000, 1u64..50), 1..200),
        ) {
            let mut window = SlidingWindow::default();
            let (mut uses, mut now) = (Vec::new(), 0u64);
            for (pause, amount) in steps {
                now += pause;
                let since = |length: u64| -> u64 {
                    uses.iter().filter(|(at, _)| at + length > now).map(|(_, amount)| amount).sum()
                };
                let used = window.used(Moment(now));
                prop_assert!(used >= since(WINDOW_MS) && used <= since(WINDOW_MS + TICK_MS));
                prop_assert!(window.buckets.len() <= 62);
                let wait = window.until_at_most(used / 2, Moment(now));
                prop_assert!(window.clone().used(Moment(now + wait)) <= used / 2);
                prop_assert!(wait == 0 || window.clone().used(Moment(now + wait - 1)) > used / 2);
                window.charge(amount, Moment(now));
                uses.push((now, amount));
            }
        }
    }
}
