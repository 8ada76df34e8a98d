//! Slows down whoever guesses, or floods somebody with mail: attempts are counted by whom they concern and by the address that
//! they come from, in bounded memory, and beyond a few there is a pause after each, twice as long as the one before. Each
//! replica counts for itself.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use airouter_billing::{Timestamp, UserId};
use quick_cache::unsync::Cache;

use crate::names::network;

/// Who is counted at the same time; those that come once are forgotten first.
const MOST: usize = 100_000;

/// Something that is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt<'a> {
    /// Somebody shows a password.
    LogIn {
        /// Of the login with this e-mail address; whether there is one doesn't matter.
        email: &'a str,
        from: IpAddr,
    },
    /// Somebody registers.
    Register { from: IpAddr },
    /// Somebody presents a token that was mailed.
    UseToken { from: IpAddr },
    /// Somebody wants a link to reset a password.
    Reset {
        /// For the login with this e-mail address; whether there is one doesn't matter.
        email: &'a str,
        from: IpAddr,
    },
    /// Somebody wants the link that proves an e-mail address once more.
    Resend { to: UserId },
    /// Somebody shows a code of a second factor.
    Code { of: UserId, from: IpAddr },
}

impl Attempt<'_> {
    /// For whom it counts.
    fn counted(self) -> Vec<Who> {
        let same = |email: &str| email.to_lowercase().into_boxed_str();
        match self {
            Self::LogIn { email, from } => {
                vec![Who::Account(same(email)), Who::Address(network(from))]
            }
            Self::Register { from } => vec![Who::Registering(network(from))],
            Self::UseToken { from } => vec![Who::Address(network(from))],
            Self::Reset { email, from } => {
                vec![Who::Mailbox(same(email)), Who::Mailing(network(from))]
            }
            Self::Resend { to } => vec![Who::Resending(to)],
            Self::Code { of, from } => vec![Who::Factor(of), Who::Address(network(from))],
        }
    }
}

/// Whose attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// To log in to this account.
    Account(Box<str>),
    /// To log in, or to use a token, from this network.
    Address(IpAddr),
    /// To register from this network.
    Registering(IpAddr),
    /// To have links mailed to this address.
    Mailbox(Box<str>),
    /// To have links mailed, from this network.
    Mailing(IpAddr),
    /// To show a code of this login's second factor.
    Factor(UserId),
    /// To have a link mailed to oneself.
    Resending(UserId),
}

/// How attempts are slowed down.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Attempts without a pause.
    free: u32,
    /// The first pause.
    first: Duration,
    /// The longest one.
    longest: Duration,
}

impl Rule {
    const fn new(free: u32, first_seconds: u64, longest_seconds: u64) -> Self {
        Self {
            free,
            first: Duration::from_secs(first_seconds),
            longest: Duration::from_secs(longest_seconds),
        }
    }

    /// The pause after so many attempts.
    fn pause(self, attempts: u32) -> Duration {
        match attempts.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(beyond) => (self.first * (1 << beyond.min(16))).min(self.longest),
        }
    }
}

impl Who {
    const fn rule(&self) -> Rule {
        match self {
            // The pauses are short: others could keep the owner out.
            Self::Account(_) => Rule::new(5, 1, 60),
            // Only those get there who know the password: nobody else is kept out.
            Self::Factor(_) => Rule::new(5, 1, 30 * 60),
            // Many people may share an address.
            Self::Address(_) => Rule::new(50, 1, 15 * 60),
            Self::Registering(_) => Rule::new(100, 1, 15 * 60),
            // Each is a mail that somebody may not want.
            Self::Mailbox(_) | Self::Resending(_) => Rule::new(3, 60, 30 * 60),
            Self::Mailing(_) => Rule::new(50, 1, 15 * 60),
        }
    }

    /// Whether a success says that all attempts were the owner's; from an address, others' may be among them.
    const fn is_one_persons(&self) -> bool {
        matches!(
            self,
            Self::Account(_) | Self::Factor(_) | Self::Mailbox(_) | Self::Resending(_)
        )
    }
}

/// After so long without an attempt all is forgotten, in microseconds.
const FORGOTTEN_AFTER: u64 = 3_600_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    attempts: u32,
    last: Timestamp,
}

/// Counts of attempts.
pub(crate) struct Attempts(Mutex<Cache<Who, Count>>);

impl Default for Attempts {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MOST)))
    }
}

impl Attempts {
    /// Counts an attempt, as one that failed, before it is made: many at the same time count too. An error says how long to
    /// wait; nothing is counted then.
    pub(crate) fn count(&self, attempt: &Attempt<'_>, now: Timestamp) -> Result<(), Duration> {
        let everybody = attempt.counted();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = everybody
            .iter()
            .filter_map(|who| wait(who, counts.get(who).copied()?, now));
        if let Some(longest) = waits.max() {
            return Err(longest);
        }
        for who in everybody {
            let before = counts
                .get(&who)
                .copied()
                .filter(|count| now.micros_since(count.last) < FORGOTTEN_AFTER)
                .unwrap_or_default();
            let count = Count {
                attempts: before.attempts.saturating_add(1),
                last: now,
            };
            counts.insert(who, count);
        }
        Ok(())
    }

    /// Takes back an attempt that succeeded: all of the account's, one of the address's.
    pub(crate) fn succeeded(&self, attempt: &Attempt<'_>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for who in attempt.counted() {
            if who.is_one_persons() {
                counts.remove(&who);
            } else if let Some(mut count) = counts.get_mut(&who) {
                count.attempts = count.attempts.saturating_sub(1);
            }
        }
    }
}

/// How much of the pause after the last attempt is left.
fn wait(who: &Who, count: Count, now: Timestamp) -> Option<Duration> {
    let pause = who.rule().pause(count.attempts);
    let left = pause.saturating_sub(Duration::from_micros(now.micros_since(count.last)));
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_795_176_000_000_000).plus_seconds(seconds)
    }

    fn log_in(email: &str) -> Attempt<'_> {
        Attempt::LogIn { email, from: HERE }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let rule = Rule::new(3, 60, 30 * 60);
        let pauses: Vec<u64> = (0..12).map(|count| rule.pause(count).as_secs()).collect();
        assert_eq!(
            pauses,
            [0, 0, 0, 60, 120, 240, 480, 960, 1800, 1800, 1800, 1800]
        );
        assert_eq!(rule.pause(u32::MAX), Duration::from_secs(1800));
    }

    #[test]
    fn pauses_grow_and_end() {
        let attempts = Attempts::default();
        let count = |email: &str, now| attempts.count(&log_in(email), at(now));
        for _ in 0..5 {
            count("ann@example.com", 0).unwrap();
        }
        let mut now = 0;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = count("Ann@Example.com", now);
            assert_eq!(wait, Err(Duration::from_secs(pause)));
            // Another account is not concerned.
            count(&format!("bob{now}@example.com"), now).unwrap();
            now += i64::try_from(pause).unwrap();
            count("ann@example.com", now).unwrap();
        }
        count("ann@example.com", now + 3600).unwrap();
        count("ann@example.com", now + 3600).unwrap();
    }

    #[test]
    fn a_success_forgets_the_accounts_attempts() {
        let attempts = Attempts::default();
        let ann = log_in("ann@example.com");
        for _ in 0..100 {
            attempts.count(&ann, at(0)).unwrap();
            attempts.succeeded(&ann);
        }
    }

    #[test]
    fn an_address_is_slowed_down_over_all_accounts() {
        let attempts = Attempts::default();
        for number in 0..50 {
            let email = format!("a{number}@example.com");
            attempts.count(&log_in(&email), at(0)).unwrap();
        }
        let zoe = log_in("z@example.com");
        assert!(attempts.count(&zoe, at(0)).is_err());
        let elsewhere = Attempt::LogIn {
            email: "z@example.com",
            from: "192.0.2.1".parse().unwrap(),
        };
        attempts.count(&elsewhere, at(0)).unwrap();
        attempts
            .count(&Attempt::Register { from: HERE }, at(0))
            .unwrap();
    }
}
