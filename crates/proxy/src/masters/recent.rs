//! How many requests there were in the last minute, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use airouter_billing::Timestamp;

const SLOTS: u64 = 12;
const SLOT_MICROS: i64 = 5_000_000;

/// Requests of the last 55 to 60 seconds. Each slot has the number of its five seconds in the upper half, and how many
/// requests there were in the lower one.
#[derive(Debug, Default)]
pub(super) struct Recent([AtomicU64; SLOTS as usize]);

impl Recent {
    /// One more.
    pub(super) fn add(&self, now: Timestamp) {
        let number = slot(now);
        let index = usize::try_from(number % SLOTS).unwrap_or(0);
        // An update that never refuses never fails.
        let _ = self.0[index].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            Some(if packed >> 32 == number {
                packed.saturating_add(1)
            } else {
                (number << 32) | 1
            })
        });
    }

    /// How many there were.
    pub(super) fn count(&self, now: Timestamp) -> u64 {
        let number = slot(now);
        self.0
            .iter()
            .map(|packed| packed.load(Ordering::Relaxed))
            .filter(|packed| number.saturating_sub(packed >> 32) < SLOTS)
            .map(|packed| packed & 0xffff_ffff)
            .sum()
    }
}

/// Which five seconds since the epoch; below 2^32 until the year 2650.
fn slot(now: Timestamp) -> u64 {
    u64::try_from(now.as_micros() / SLOT_MICROS).unwrap_or(0) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_remembered_and_no_more() {
        let at = |seconds| Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds);
        let recent = Recent::default();
        for second in 0..120 {
            recent.add(at(second));
            recent.add(at(second));
            let count = recent.count(at(second));
            assert!((2..=120).contains(&count));
            assert!(second < 60 || count >= 110, "{count}");
        }
        assert_eq!(recent.count(at(200)), 0);
    }
}
