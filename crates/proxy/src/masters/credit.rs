//! What an account has left at its upstream, and how long that lasts.

use airouter_billing::{Nanos, Timestamp};
use airouter_store::master_accounts::CreditReading;

/// A reading that is older says nothing any more.
const STALE_SECONDS: i64 = 600;
/// Less than so much is little: $1.
const LITTLE: Nanos = Nanos::new(1_000_000_000);
/// Readings of so long weigh as much as all before.
const PACE_MICROS: i128 = 3_600_000_000;
const DAY_MICROS: i128 = 86_400_000_000;
/// Readings that are closer together say nothing of the pace.
const CLOSEST_MICROS: i128 = 500_000;

/// Whether an account can pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CreditStanding {
    /// It can, or nobody knows, which counts as enough until a 402.
    Enough,
    /// For less than a day, or less than $1.
    Low,
    /// Not any more.
    Spent,
}

/// How an account stands by what was last said.
pub(crate) fn standing(reading: Option<&CreditReading>, now: Timestamp) -> CreditStanding {
    let Some(reading) = reading.filter(|reading| reading.seen_at.plus_seconds(STALE_SECONDS) > now)
    else {
        return CreditStanding::Enough;
    };
    if reading.left() <= Nanos::ZERO {
        CreditStanding::Spent
    } else if reading.left() < LITTLE || reading.days_left() == Some(0) {
        CreditStanding::Low
    } else {
        CreditStanding::Enough
    }
}

/// What is known after an upstream said what was bought and used: the pace is a moving average, in which an hour weighs as
/// much as all that was before.
pub(crate) fn next_reading(
    before: Option<&CreditReading>,
    (bought, used): (Nanos, Nanos),
    now: Timestamp,
) -> CreditReading {
    let pace = before.map_or(Some(None), |before| {
        let micros = i128::from(now.micros_since(before.seen_at));
        if micros < CLOSEST_MICROS {
            return Some(before.pace);
        }
        let more = i128::from(used.saturating_sub(before.used).get()).max(0);
        let present = more.checked_mul(DAY_MICROS)? / micros;
        let old = before.pace.map_or(present, |pace| i128::from(pace.get()));
        let change = (present - old).checked_mul(micros)? / (micros + PACE_MICROS);
        let pace = i64::try_from(old + change).ok()?;
        Some(Some(Nanos::new(pace)))
    });
    CreditReading {
        bought,
        used,
        pace: pace.flatten(),
        seen_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn reading(left: i64, pace: Option<i64>) -> CreditReading {
        CreditReading {
            bought: Nanos::new(left),
            used: Nanos::ZERO,
            pace: pace.map(Nanos::new),
            seen_at: START,
        }
    }

    #[test]
    fn unknown_counts_as_enough() {
        assert_eq!(standing(None, START), CreditStanding::Enough);
        let spent = reading(0, None);
        assert_eq!(standing(Some(&spent), START), CreditStanding::Spent);
        let later = START.plus_seconds(STALE_SECONDS);
        assert_eq!(standing(Some(&spent), later), CreditStanding::Enough);
    }

    #[test]
    fn little_credit_is_less_than_a_day_or_a_dollar() {
        for (left, pace, expected) in [
            (-5, None, CreditStanding::Spent),
            (999_999_999, None, CreditStanding::Low),
            (1_000_000_000, None, CreditStanding::Enough),
            (9_000_000_000, Some(9_000_000_000), CreditStanding::Enough),
            (9_000_000_000, Some(9_000_000_001), CreditStanding::Low),
        ] {
            assert_eq!(standing(Some(&reading(left, pace)), START), expected);
        }
    }

    #[test]
    fn the_pace_follows_what_is_used() {
        let bought = Nanos::from_usd(100).unwrap();
        let at = |seconds| START.plus_seconds(seconds);
        let cents = |cents| Nanos::from_cents(cents).unwrap();
        let mut last = next_reading(None, (bought, Nanos::ZERO), START);
        assert_eq!((last.pace, last.days_left()), (None, None));
        // A cent a minute: $14.40 a day.
        for minute in 1..=5 {
            last = next_reading(Some(&last), (bought, cents(minute)), at(minute * 60));
            assert_eq!(last.pace, Some(cents(1_440)));
        }
        assert_eq!(last.days_left(), Some(6));
        // An hour of nothing halves it.
        let idle = next_reading(Some(&last), (bought, last.used), at(300 + 3_600));
        assert_eq!(idle.pace, Some(cents(720)));
    }

    proptest! {
        /// Whatever an upstream says, a pace is never negative and nothing overflows.
        #[test]
        fn a_pace_is_never_negative(readings in prop::collection::vec((any::<i64>(), any::<i64>(), 0..10_000_000_i64), 0..20)) {
            let (mut last, mut now) = (None, START);
            for (bought, used, seconds) in readings {
                now = now.plus_seconds(seconds);
                let next = next_reading(last.as_ref(), (Nanos::new(bought), Nanos::new(used)), now);
                prop_assert!(next.pace.is_none_or(|pace| pace >= Nanos::ZERO));
                last = Some(next);
            }
        }
    }
}
