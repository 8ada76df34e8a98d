//! Days as upstreams count them: in UTC, from midnight to midnight.

use std::fmt;
use std::str::FromStr;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, Time};

use crate::time::Timestamp;

const FORMAT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// A day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDay(Date);

/// A text that is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a day, like 2026-11-20")]
pub struct NotADay;

impl UtcDay {
    /// The day with this date.
    pub const fn new(date: Date) -> Self {
        Self(date)
    }

    /// The day that contains `at`; the first there is, for a time beyond the year 9999.
    pub fn of(at: Timestamp) -> Self {
        Self(at.to_utc().map_or(Date::MIN, OffsetDateTime::date))
    }

    /// Its date.
    pub const fn date(self) -> Date {
        self.0
    }

    /// Its first moment.
    pub fn begins(self) -> Timestamp {
        OffsetDateTime::new_utc(self.0, Time::MIDNIGHT).into()
    }

    /// The first moment after it.
    pub fn ends(self) -> Timestamp {
        self.plus(1).begins()
    }

    /// So many days later, or earlier if below zero; held at the ends of the calendar.
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(Duration::days(days)))
    }
}

/// `2026-11-20`.
impl fmt::Display for UtcDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for UtcDay {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        Date::parse(text, FORMAT).map(Self).map_err(|_| NotADay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::{date, datetime};

    #[test]
    fn a_day_is_from_midnight_to_midnight() {
        let day: UtcDay = "2026-12-31".parse().unwrap();
        assert_eq!(day, UtcDay::new(date!(2026 - 12 - 31)));
        assert_eq!(day.begins(), datetime!(2026-12-31 0:00 UTC).into());
        assert_eq!(day.ends(), datetime!(2027-01-01 0:00 UTC).into());
        assert_eq!(day.plus(-30).to_string(), "2026-12-01");
        for text in ["", "2026-13-01", "2026-1-01", "2026-01-01x", "yesterday"] {
            assert_eq!(text.parse::<UtcDay>(), Err(NotADay));
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_in_its_day(micros in 0_i64..4_000_000_000_000_000) {
            let at = Timestamp::from_micros(micros);
            let day = UtcDay::of(at);
            prop_assert!(day.begins() <= at && at < day.ends());
            prop_assert_eq!(day.to_string().parse(), Ok(day));
        }
    }
}
