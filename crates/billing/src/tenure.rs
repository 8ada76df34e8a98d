//! How long a replica may spend from its leases, on both sides: what the replica reckons by itself, and what the
//! database counts before it gives a silent replica's leases back.
//!
//! All leases of a replica end together. The replica counts by a clock that does not jump, from the moment at which it
//! asked; the database counts only while somebody watches it, so that an outage of its own takes no lease from anyone.

use crate::fault::{Fault, is_planted};
use crate::time::Timestamp;

/// Leases are granted for so long, and renewed every [`RENEW_EVERY_SECONDS`].
pub const LEASE_SECONDS: i64 = 120;
/// How often leases are renewed.
pub const RENEW_EVERY_SECONDS: i64 = 20;
/// A replica admits nothing on leases that end within so many seconds.
pub const SAFETY_SECONDS: i64 = 5;
/// So long after their end leases stay reserved: what was admitted on them may still be settled.
pub const GRACE_SECONDS: i64 = 60;
/// The most that one tick of a [`LeaseClock`] counts: longer silence means that nobody could renew.
pub const LONGEST_TICK_SECONDS: i64 = 5;

const MICROS: i64 = 1_000_000;

/// Whether a replica may spend from its leases, as far as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    ends: Timestamp,
}

impl Tenure {
    /// From a registration or a renewal that was asked for at `asked`, by a clock that does not jump.
    pub const fn since(asked: Timestamp) -> Self {
        Self {
            ends: asked.plus_seconds(LEASE_SECONDS),
        }
    }

    /// A renewal that was asked for at `asked` succeeded.
    pub fn renewed(&mut self, asked: Timestamp) {
        self.ends = self.ends.max(Self::since(asked).ends);
    }

    /// Whether anything may be admitted on the leases.
    pub fn may_admit(&self, now: Timestamp) -> bool {
        now.plus_seconds(SAFETY_SECONDS) <= self.ends || is_planted(Fault::ExpiredLeaseUsed)
    }
}

/// The clock by which the database counts how long leases are silent: it goes on only while replicas tick it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseClock {
    /// Microseconds that it has counted.
    pub elapsed: i64,
    /// When it was ticked last, by the database's own clock.
    pub ticked_at: Timestamp,
}

impl LeaseClock {
    /// The clock after a tick at `now`. A clock that jumped back counts nothing; one that jumped ahead, or stood while
    /// the database was away, counts [`LONGEST_TICK_SECONDS`].
    #[must_use]
    pub fn tick(self, now: Timestamp) -> Self {
        let passed = i64::try_from(now.micros_since(self.ticked_at)).unwrap_or(i64::MAX);
        let counted = passed.min(LONGEST_TICK_SECONDS * MICROS);
        Self {
            elapsed: self.elapsed.saturating_add(counted),
            ticked_at: now,
        }
    }

    /// When leases that are granted or renewed now end, by this clock.
    pub const fn lease_ends(self) -> i64 {
        self.elapsed.saturating_add(LEASE_SECONDS * MICROS)
    }

    /// Up to which end leases are given back now: what ended before was silent through its grace too.
    pub fn given_back_until(self) -> i64 {
        let grace = if is_planted(Fault::LapsedLeaseReturnedEarly) {
            0
        } else {
            GRACE_SECONDS
        };
        self.elapsed.saturating_sub(grace * MICROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    #[test]
    fn nothing_is_admitted_on_leases_that_are_about_to_end() {
        let mut tenure = Tenure::since(NOW);
        let last = NOW.plus_seconds(LEASE_SECONDS - SAFETY_SECONDS);
        let late = Timestamp::from_micros(last.as_micros() + 1);
        assert!(tenure.may_admit(last));
        assert!(!tenure.may_admit(late));
        tenure.renewed(late);
        assert!(tenure.may_admit(late));
        // An answer that was under way for long does not shorten what a later one has granted.
        tenure.renewed(NOW);
        assert!(tenure.may_admit(late));
    }

    #[test]
    fn an_outage_of_the_database_ends_no_lease() {
        let clock = LeaseClock {
            elapsed: 0,
            ticked_at: NOW,
        };
        let ends = clock.lease_ends();
        let after = clock.tick(NOW.plus_seconds(3_600));
        assert!(ends > after.given_back_until());
    }

    #[test]
    fn a_silent_replica_keeps_its_leases_through_the_grace_and_no_longer() {
        let mut clock = LeaseClock {
            elapsed: 0,
            ticked_at: NOW,
        };
        let ends = clock.lease_ends();
        let mut seconds = 0;
        while ends > clock.given_back_until() {
            seconds += 1;
            clock = clock.tick(NOW.plus_seconds(seconds));
        }
        assert_eq!(seconds, LEASE_SECONDS + GRACE_SECONDS);
    }

    proptest! {
        /// However clocks of the two sides run and jump: nothing is given back that its replica would still spend.
        #[test]
        fn the_database_waits_longer_than_the_replica(
            steps in prop::collection::vec((0_i64..30, -100_000_i64..100_000), 1..200),
        ) {
            let (mut real, mut jumped) = (0, 0);
            let mut clock = LeaseClock { elapsed: 0, ticked_at: NOW };
            let ends = clock.lease_ends();
            let tenure = Tenure::since(NOW);
            let mut jumps = 0;
            for (wait, jump) in steps {
                real += wait;
                if jump % 7 == 0 && jumps < GRACE_SECONDS / LONGEST_TICK_SECONDS {
                    jumped += jump;
                    jumps += 1;
                }
                clock = clock.tick(NOW.plus_seconds(real + jumped));
                if ends <= clock.given_back_until() {
                    prop_assert!(!tenure.may_admit(NOW.plus_seconds(real)));
                }
            }
        }
    }
}
