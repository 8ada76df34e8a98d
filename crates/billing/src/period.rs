//! Periods of budgets: the day, the week from Monday, the month from the 1st, in UTC.

use serde::{Deserialize, Serialize};
use time::{Date, Duration, Month, OffsetDateTime, Time};

use crate::time::Timestamp;

/// How often a budget starts anew (OpenRouter's own `limit_reset` has the same boundaries, wire-contract §1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Never.
    None,
    /// At 00:00.
    Day,
    /// On Monday at 00:00.
    Week,
    /// On the 1st at 00:00.
    Month,
}

impl Period {
    /// Every period.
    pub const ALL: [Self; 4] = [Self::None, Self::Day, Self::Week, Self::Month];

    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The period with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    /// When the period that contains `now` began; the epoch for [`Period::None`].
    pub fn start(self, now: Timestamp) -> Timestamp {
        let Some(now) = now.to_utc() else {
            return Timestamp::default();
        };
        self.first_day(now.date())
            .map_or_else(Timestamp::default, midnight)
    }

    /// When the period that contains `now` ends; `None` for [`Period::None`].
    pub fn end(self, now: Timestamp) -> Option<Timestamp> {
        let first = self.first_day(now.to_utc()?.date())?;
        let next = match self {
            Self::None => return None,
            Self::Day => first.next_day()?,
            Self::Week => first.checked_add(Duration::weeks(1))?,
            Self::Month => next_month(first)?,
        };
        Some(midnight(next))
    }

    fn first_day(self, day: Date) -> Option<Date> {
        match self {
            Self::None => None,
            Self::Day => Some(day),
            Self::Week => day.checked_sub(Duration::days(i64::from(
                day.weekday().number_days_from_monday(),
            ))),
            Self::Month => day.replace_day(1).ok(),
        }
    }
}

fn next_month(first: Date) -> Option<Date> {
    let year = if first.month() == Month::December {
        first.year() + 1
    } else {
        first.year()
    };
    Date::from_calendar_date(year, first.month().next(), 1).ok()
}

fn midnight(day: Date) -> Timestamp {
    OffsetDateTime::new_utc(day, Time::MIDNIGHT).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    #[test]
    fn boundaries_are_midnight_monday_and_the_first() {
        let now = Timestamp::from(datetime!(2026-12-31 23:59:59.999_999 UTC));
        let at = |value: OffsetDateTime| Timestamp::from(value);
        assert_eq!(Period::Day.start(now), at(datetime!(2026-12-31 0:00 UTC)));
        assert_eq!(
            Period::Day.end(now),
            Some(at(datetime!(2027-01-01 0:00 UTC)))
        );
        assert_eq!(Period::Week.start(now), at(datetime!(2026-12-28 0:00 UTC)));
        assert_eq!(
            Period::Week.end(now),
            Some(at(datetime!(2027-01-04 0:00 UTC)))
        );
        assert_eq!(Period::Month.start(now), at(datetime!(2026-12-01 0:00 UTC)));
        assert_eq!(
            Period::Month.end(now),
            Some(at(datetime!(2027-01-01 0:00 UTC)))
        );
        assert_eq!(Period::None.end(now), None);
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_its_period(micros in 0_i64..4_000_000_000_000_000) {
            let now = Timestamp::from_micros(micros);
            for period in [Period::Day, Period::Week, Period::Month] {
                let (start, end) = (period.start(now), period.end(now).unwrap());
                prop_assert!(start <= now && now < end);
                prop_assert_eq!(period.start(end), end);
            }
        }
    }
}
