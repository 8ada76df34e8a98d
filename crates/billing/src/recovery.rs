//! What becomes of a request whose usage did not come: asked for with backoff, then settled or lost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{LossReason, Outcome};
use crate::time::Timestamp;

/// Why the generation record of a request is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingReason {
    /// Its answer is still running; only after a crash is it asked for.
    InFlight,
    /// The client has had an answer, or left, and the usage is not known.
    UsageUnknown,
    /// The attempt failed before the client had anything; the upstream may have billed it.
    FailedAttempt,
}

impl PendingReason {
    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::UsageUnknown => "usage_unknown",
            Self::FailedAttempt => "failed_attempt",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::InFlight, Self::UsageUnknown, Self::FailedAttempt]
            .into_iter()
            .find(|reason| reason.name() == name)
    }

    /// Who bears what the upstream billed. An answer that our own crash cut costs the client nothing (design §3, Crash).
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::InFlight => Outcome::Lost(LossReason::Crash),
            Self::UsageUnknown => Outcome::Charged,
            Self::FailedAttempt => Outcome::Lost(LossReason::FailedAttempt),
        }
    }
}

/// For so long the generation record is asked for.
pub const GIVE_UP_AFTER_SECONDS: i64 = 24 * 3600;
/// A failed attempt that the upstream does not know after so long was not billed: longer than an answer runs on that
/// can't be cancelled.
pub const FAILED_ATTEMPT_SECONDS: i64 = 900;
/// A router that resells says at once of a request that it knows it, or does so a moment after it began. What it has not
/// heard of for so long was cut by a crash of its own before it was on record, and is never charged.
pub const ROUTER_DENIES_FOR: Duration = Duration::from_secs(15);
/// Meanwhile it is asked at least so often.
pub const DENYING_ROUTER_ASKED_EVERY: Duration = Duration::from_secs(3);
/// It is asked at least so often, which takes a quarter of an hour, whatever a clock that jumped says of the time.
const LEAST_QUESTIONS: u32 = 12;
/// The longest wait between two questions.
const LONGEST_WAIT_SECONDS: u64 = 600;

/// What to do next about a request whose usage is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask (again) at this time.
    AskAt(Timestamp),
    /// It will not be found out any more.
    GiveUp,
}

/// After `attempts` questions without an answer, the first at `since`: 0.25 s, 0.5 s, 1 s … 10 min, for a day (for a
/// quarter of an hour after a failed attempt, which most often was never billed); for a quarter of an hour at least,
/// however late it is: a clock that jumps must not end it.
pub fn next(reason: PendingReason, attempts: u32, since: Timestamp, now: Timestamp) -> Next {
    let patience = match reason {
        PendingReason::FailedAttempt => FAILED_ATTEMPT_SECONDS,
        PendingReason::InFlight | PendingReason::UsageUnknown => GIVE_UP_AFTER_SECONDS,
    };
    if attempts >= LEAST_QUESTIONS && now >= since.plus_seconds(patience) {
        return Next::GiveUp;
    }
    let wait = 250_000_u64
        .saturating_mul(1_u64 << attempts.min(20))
        .min(LONGEST_WAIT_SECONDS * 1_000_000);
    let wait = i64::try_from(wait).unwrap_or(i64::MAX);
    Next::AskAt(Timestamp::from_micros(now.as_micros().saturating_add(wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_does_not_end_it() {
        let since = Timestamp::from_micros(0);
        for reason in [PendingReason::UsageUnknown, PendingReason::FailedAttempt] {
            let (mut jumped, mut waited, mut questions) =
                (since.plus_seconds(3 * GIVE_UP_AFTER_SECONDS), 0, 0);
            while let Next::AskAt(at) = next(reason, questions, since, jumped) {
                waited += at.micros_since(jumped);
                jumped = at;
                questions += 1;
            }
            assert!((900..1_800).contains(&(waited / 1_000_000)), "{waited}");
        }
    }

    #[test]
    fn it_is_asked_for_a_day_with_growing_waits() {
        let since = Timestamp::from_micros(0);
        let (mut now, mut questions) = (since, 0);
        while let Next::AskAt(at) = next(PendingReason::UsageUnknown, questions, since, now) {
            assert!(at > now);
            now = at;
            questions += 1;
        }
        assert!(now >= since.plus_seconds(GIVE_UP_AFTER_SECONDS));
        assert!((100..300).contains(&questions), "{questions}");
    }
}
