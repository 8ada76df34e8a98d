//! The time of a report: from when to when, and the days in between as somebody's calendar has them.

use airouter_billing::Timestamp;
use airouter_store::usage::{QuarterHour, UsagePeriod};
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, ToSpan as _};

use crate::problem::Problem;

/// Days of a report that does not say from when on.
const DEFAULT_DAYS: i32 = 30;
/// The longest report, in days.
const MOST_DAYS: usize = 366;
/// Since then the days of all time zones begin with a quarter of an hour in UTC, nearly always.
const FIRST_YEAR: i16 = 2000;
const LAST_YEAR: i16 = 2199;
/// No name of a time zone is longer.
const LONGEST_NAME: usize = 64;

/// When, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The first day, or the first moment.
    pub(crate) from: Option<&'a str>,
    /// The last day, or the first moment after it.
    pub(crate) to: Option<&'a str>,
    /// An IANA name; UTC if none.
    pub(crate) time_zone: Option<&'a str>,
}

/// When: whole quarters of hours.
#[derive(Clone, Debug)]
pub(crate) struct ReportTime {
    period: UsagePeriod,
    zone: TimeZone,
    name: String,
}

/// A day of a report, or the part of it that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Day {
    /// Its date, as in 2026-11-20.
    pub(crate) date: String,
    /// When it is.
    pub(crate) period: UsagePeriod,
}

const fn wrong(field: &'static str, expected: &'static str) -> Problem {
    Problem::Invalid { field, expected }
}

impl ReportTime {
    /// What is asked for at `now`: without an end to the end of today, without a beginning the 30 days before the end.
    pub(crate) fn of(asked: Asked<'_>, now: Timestamp) -> Result<Self, Problem> {
        let name = asked.time_zone.unwrap_or("UTC");
        let zone = zone(name)?;
        let today = date_of(now, &zone);
        let to = match asked.to {
            None => begins(next(today), &zone),
            Some(text) => moment("to", text, |last| begins(next(last), &zone))?,
        };
        let from = match asked.from {
            None => {
                let last = date_of(to.plus(-1).begins(), &zone);
                let first = last.saturating_sub((DEFAULT_DAYS - 1).days());
                begins(first, &zone)
            }
            Some(text) => moment("from", text, |first| begins(first, &zone))?,
        };
        if from >= to {
            return Err(wrong("from", "before 'to'"));
        }
        let time = Self {
            period: UsagePeriod { from, to },
            zone,
            name: name.to_owned(),
        };
        if time.days().len() > MOST_DAYS {
            return Err(wrong("from", "at most 366 days before 'to'"));
        }
        Ok(time)
    }

    /// All of it.
    pub(crate) const fn period(&self) -> UsagePeriod {
        self.period
    }

    /// The name of the time zone.
    pub(crate) fn zone_name(&self) -> &str {
        &self.name
    }

    /// Its days, the first and the last as far as they are in it; one more than there may be at most.
    pub(crate) fn days(&self) -> Vec<Day> {
        let UsagePeriod { from, to } = self.period;
        let mut date = date_of(from.begins(), &self.zone);
        let mut begin = from;
        let mut days = Vec::new();
        while begin < to && days.len() <= MOST_DAYS {
            let tomorrow = next(date);
            let end = begins(tomorrow, &self.zone).min(to);
            // A day that a calendar leaves out has no time.
            if begin < end {
                days.push(Day {
                    date: date.to_string(),
                    period: UsagePeriod {
                        from: begin,
                        to: end,
                    },
                });
                begin = end;
            } else if tomorrow == date {
                break;
            }
            date = tomorrow;
        }
        days
    }
}

/// The same list of time zones everywhere: the one that was built in.
fn zone(name: &str) -> Result<TimeZone, Problem> {
    let unknown = wrong(
        "time_zone",
        "a name of the IANA time zone database, as in Europe/Berlin",
    );
    if name.len() > LONGEST_NAME {
        return Err(unknown);
    }
    TimeZoneDatabase::bundled().get(name).map_err(|_| unknown)
}

fn next(date: Date) -> Date {
    date.tomorrow().unwrap_or(date)
}

fn date_of(at: Timestamp, zone: &TimeZone) -> Date {
    let at = Instant::from_microsecond(at.as_micros()).unwrap_or(Instant::MAX);
    zone.to_datetime(at).date()
}

/// The first moment of a day. Where clocks are put forward at midnight, it is later; what is between two quarters of an
/// hour counts with the earlier one.
fn begins(date: Date, zone: &TimeZone) -> QuarterHour {
    let first = date.to_zoned(zone.clone());
    let micros = first.map_or(i64::MAX, |first| first.timestamp().as_microsecond());
    QuarterHour::containing(Timestamp::from_micros(micros))
}

/// A date as `of_date` says, or a moment with its offset from UTC.
fn moment(
    field: &'static str,
    text: &str,
    of_date: impl FnOnce(Date) -> QuarterHour,
) -> Result<QuarterHour, Problem> {
    let unreadable = wrong(
        field,
        "a date as in 2026-11-20, or a time as in 2026-11-20T12:00:00Z, in the years 2000 to 2199",
    );
    let is_in_time = |year: i16| (FIRST_YEAR..=LAST_YEAR).contains(&year);
    if let Some(date) = plain_date(text) {
        return if is_in_time(date.year()) {
            Ok(of_date(date))
        } else {
            Err(unreadable)
        };
    }
    let Ok(at) = text.parse::<Instant>() else {
        return Err(unreadable);
    };
    if !is_in_time(TimeZone::UTC.to_datetime(at).year()) {
        return Err(unreadable);
    }
    let is_whole = at.subsec_nanosecond() == 0;
    QuarterHour::beginning(Timestamp::from_micros(at.as_microsecond()))
        .filter(|_| is_whole)
        .ok_or(wrong(field, "a full quarter of an hour"))
}

/// A date and nothing else; what reads dates would take the date of a time, too.
fn plain_date(text: &str) -> Option<Date> {
    if text.len() == "2026-11-20".len() {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: time::OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn asked(from: &str, to: &str, zone: &str) -> Result<ReportTime, Problem> {
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let asked = Asked {
            from: some(leak(from)),
            to: some(leak(to)),
            time_zone: some(leak(zone)),
        };
        ReportTime::of(asked, NOW.into())
    }

    fn hours(day: &Day) -> String {
        let seconds =
            (day.period.to.begins().as_micros() - day.period.from.begins().as_micros()) / 1_000_000;
        format!(
            "{} {}.{:02}",
            day.date,
            seconds / 3_600,
            seconds % 3_600 / 36
        )
    }

    #[test]
    fn without_a_time_it_is_thirty_days_to_the_end_of_today() {
        let time = asked("", "", "").unwrap();
        let days = time.days();
        assert_eq!(days.len(), 30);
        assert_eq!(days[0].date, "2026-10-22");
        assert_eq!(days[29].date, "2026-11-20");
        assert_eq!(
            time.period().to.begins(),
            datetime!(2026-11-21 0:00 UTC).into()
        );
        // It is tomorrow there.
        let far = asked("", "", "Pacific/Kiritimati").unwrap();
        assert_eq!(far.days()[29].date, "2026-11-21");
    }

    #[test]
    fn days_are_as_long_as_their_calendar_says() {
        let days = |from: &str, to: &str, zone: &str| -> Vec<String> {
            let time = asked(from, to, zone).unwrap();
            time.days().iter().map(hours).collect()
        };
        assert_eq!(
            days("2026-03-28", "2026-03-30", "Europe/Berlin"),
            ["2026-03-28 24.00", "2026-03-29 23.00", "2026-03-30 24.00"]
        );
        assert_eq!(
            days("2026-10-25", "2026-10-25", "Europe/Berlin"),
            ["2026-10-25 25.00"]
        );
        // By half an hour only.
        assert_eq!(
            days("2026-04-05", "2026-04-05", "Australia/Lord_Howe"),
            ["2026-04-05 24.50"]
        );
        // Clocks were put forward at midnight.
        assert_eq!(
            days("2018-11-04", "2018-11-04", "America/Sao_Paulo"),
            ["2018-11-04 23.00"]
        );
        // A whole day was left out.
        assert_eq!(
            days("2011-12-29", "2011-12-31", "Pacific/Apia"),
            ["2011-12-29 24.00", "2011-12-31 24.00"]
        );
        let kathmandu = asked("2026-11-20", "2026-11-20", "Asia/Kathmandu").unwrap();
        assert_eq!(
            kathmandu.period().from.begins(),
            datetime!(2026-11-19 18:15 UTC).into()
        );
    }

    #[test]
    fn parts_of_days_are_at_the_ends() {
        let time = asked(
            "2026-11-01T12:00:00+01:00",
            "2026-11-02T06:15:00Z",
            "Asia/Kolkata",
        );
        let days: Vec<String> = time.unwrap().days().iter().map(hours).collect();
        assert_eq!(days, ["2026-11-01 7.50", "2026-11-02 11.75"]);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (from, to, zone) in [
            ("2026-11-20", "2026-11-19", ""),
            ("2026-11-20T12:07:00Z", "", ""),
            ("2026-11-20T12:00:00.5Z", "", ""),
            ("yesterday", "", ""),
            ("2026-13-01", "", ""),
            ("1999-12-31", "2000-01-02", ""),
            ("2025-11-19", "2026-11-20", ""),
            ("2026-11-20", "9999-12-31", ""),
            ("", "", "Mars/Phobos"),
            ("", "", "../../etc/passwd"),
        ] {
            assert!(asked(from, to, zone).is_err(), "{from} {to} {zone}");
        }
        assert_eq!(
            asked("2025-11-20", "2026-11-20", "").unwrap().days().len(),
            366
        );
    }
}
