//! Which sums make up a period: sums are kept by the quarter of an hour, by three hours and by the day, in UTC, those of
//! accounts by sixteen days too, and a period takes the largest that fit.

use super::{QuarterHour, UsagePeriod};

/// For how long sums are kept together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// A quarter of an hour.
    Quarter,
    /// Three hours, the first from midnight on. A local day has seven or eight, so that few quarters are left.
    ThreeHours,
    /// A day, from midnight to midnight in UTC.
    Day,
    /// Sixteen days, the first from the epoch on.
    SixteenDays,
}

impl Grain {
    /// Those of most sums, the largest first.
    pub const USUAL: [Self; 3] = [Self::Day, Self::ThreeHours, Self::Quarter];
    /// Those of the sums of accounts.
    pub const OF_ACCOUNTS: [Self; 4] = [
        Self::SixteenDays,
        Self::Day,
        Self::ThreeHours,
        Self::Quarter,
    ];

    const fn quarters(self) -> i64 {
        match self {
            Self::Quarter => 1,
            Self::ThreeHours => 12,
            Self::Day => 96,
            Self::SixteenDays => 1_536,
        }
    }

    /// How long it is; the database knows it by this number.
    pub const fn seconds(self) -> i32 {
        match self {
            Self::Quarter => 900,
            Self::ThreeHours => 10_800,
            Self::Day => 86_400,
            Self::SixteenDays => 1_382_400,
        }
    }
}

/// Some of the sums that make up a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which of the periods, counted from 0.
    pub period: usize,
    /// Which sums.
    pub grain: Grain,
    /// From the one that begins here on.
    pub from: QuarterHour,
    /// Those that begin before this.
    pub to: QuarterHour,
}

/// The sums that make up the periods, each moment of a period once, out of these, which end with quarters.
pub fn cover(periods: &[UsagePeriod], grains: &[Grain]) -> Vec<Part> {
    let mut parts = Vec::with_capacity(periods.len().saturating_mul(3));
    for (index, period) in periods.iter().enumerate() {
        add(&mut parts, index, (period.from, period.to), grains);
    }
    parts
}

fn add(
    parts: &mut Vec<Part>,
    period: usize,
    (from, to): (QuarterHour, QuarterHour),
    grains: &[Grain],
) {
    let Some((&grain, finer)) = grains.split_first() else {
        return;
    };
    let size = grain.quarters();
    let first = QuarterHour(-(-from.0).div_euclid(size) * size);
    let last = QuarterHour(to.0.div_euclid(size) * size);
    if first >= last {
        return add(parts, period, (from, to), finer);
    }
    add(parts, period, (from, first), finer);
    parts.push(Part {
        period,
        grain,
        from: first,
        to: last,
    });
    add(parts, period, (last, to), finer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use airouter_billing::Timestamp;
    use proptest::prelude::*;

    fn quarters(from: i64, to: i64) -> UsagePeriod {
        UsagePeriod {
            from: QuarterHour(from),
            to: QuarterHour(to),
        }
    }

    #[test]
    fn a_utc_day_is_one_sum_and_an_indian_day_few() {
        assert_eq!(cover(&[quarters(96, 192)], &Grain::USUAL).len(), 1);
        // 18:30 to 18:30 in UTC.
        let indian = cover(&[quarters(74, 170)], &Grain::USUAL);
        let rows = |part: &Part| (part.to.0 - part.from.0) / part.grain.quarters();
        assert_eq!(indian.iter().map(rows).sum::<i64>(), 10 + 7 + 2);
        assert_eq!(cover(&[quarters(5, 5), quarters(7, 6)], &Grain::USUAL), []);
    }

    #[test]
    fn a_quarter_contains_its_beginning() {
        let at = Timestamp::from_micros(900_000_000 * 7);
        assert_eq!(QuarterHour::beginning(at), Some(QuarterHour(7)));
        assert_eq!(QuarterHour(7).begins(), at);
        let before = Timestamp::from_micros(-1);
        assert_eq!(QuarterHour::containing(before), QuarterHour(-1));
        assert_eq!(QuarterHour::beginning(before), None);
    }

    proptest! {
        #[test]
        fn parts_follow_each_other_without_gaps(from in -1_000_i64..100_000, length in 0_i64..40_000) {
            let parts = cover(&[quarters(from, from + length)], &Grain::OF_ACCOUNTS);
            let mut next = from;
            for part in &parts {
                prop_assert_eq!(part.from.0, next);
                prop_assert!(part.to > part.from);
                prop_assert_eq!(part.from.0.rem_euclid(part.grain.quarters()), 0);
                prop_assert_eq!(part.to.0.rem_euclid(part.grain.quarters()), 0);
                next = part.to.0;
            }
            prop_assert_eq!(next, if parts.is_empty() { from } else { from + length });
            prop_assert!(parts.len() <= 7);
        }
    }
}
