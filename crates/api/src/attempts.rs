//! Slows down whoever guesses, or floods somebody with mail: attempts are counted in the database by whom they concern and by
//! the address that they come from, and beyond a few there is a pause after each, twice as long as the one before.

use std::iter::successors;
use std::net::IpAddr;
use std::time::Duration;

use airouter_billing::UserId;
use airouter_store::StoreError;
use airouter_store::attempts::{AttemptKey, Count, Counted};

use crate::names::network;
use crate::problem::Problem;
use crate::shared::Shared;

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

/// An e-mail address, however it is written.
fn same(email: &str) -> Box<str> {
    email.to_lowercase().into()
}

/// Whose attempts.
#[derive(Clone, Debug)]
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

    /// The pause after so many attempts, from none on; the last one holds for all beyond.
    fn pauses(self) -> Vec<Duration> {
        let double =
            |pause: &Duration| (*pause < self.longest).then(|| (*pause * 2).min(self.longest));
        let free = (0..self.free).map(|_| Duration::ZERO);
        free.chain(successors(Some(self.first), double)).collect()
    }
}

impl Who {
    fn key(&self) -> AttemptKey {
        match self {
            Self::Account(email) => AttemptKey::of("account", email),
            Self::Factor(user) => AttemptKey::of("factor", &user.to_string()),
            Self::Address(network) => AttemptKey::of("address", &network.to_string()),
            Self::Registering(network) => AttemptKey::of("registering", &network.to_string()),
            Self::Mailbox(email) => AttemptKey::of("mailbox", email),
            Self::Mailing(network) => AttemptKey::of("mailing", &network.to_string()),
            Self::Resending(user) => AttemptKey::of("resending", &user.to_string()),
        }
    }

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

impl From<&Who> for Count {
    fn from(who: &Who) -> Self {
        Self {
            key: who.key(),
            pauses: who.rule().pauses(),
        }
    }
}

impl Shared {
    /// Counts an attempt, as one that failed, before it is made: many at the same time count too. Where there is a pause, the
    /// problem says how long to wait, and nothing is counted.
    pub(crate) async fn count(&self, attempt: &Attempt<'_>) -> Result<(), Problem> {
        let counts: Vec<Count> = attempt.counted().iter().map(Count::from).collect();
        match self.store.count_attempt(&counts, self.now()).await? {
            Counted::Yes => Ok(()),
            Counted::Paused(left) => Err(Problem::TooManyAttempts(left)),
        }
    }

    /// Takes back an attempt that succeeded: all of the account's, one of the address's. What was done stays done where the
    /// database does not take that.
    pub(crate) async fn succeeded(&self, attempt: &Attempt<'_>) {
        for who in attempt.counted() {
            if let Err(error) = self.take_back(&who).await {
                tracing::warn!(%error, "an attempt that succeeded stays counted");
            }
        }
    }

    async fn take_back(&self, who: &Who) -> Result<(), StoreError> {
        if who.is_one_persons() {
            self.store.forget_attempts(&who.key()).await
        } else {
            self.store.take_back_attempt(&who.key()).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(rule: Rule) -> Vec<u64> {
        rule.pauses().iter().map(Duration::as_secs).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = seconds(Rule::new(3, 60, 30 * 60));
        assert_eq!(pauses, [0, 0, 0, 60, 120, 240, 480, 960, 1800]);
        assert_eq!(
            seconds(Rule::new(5, 1, 60)),
            [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60]
        );
        assert_eq!(seconds(Rule::new(0, 10, 10)), [10]);
    }

    #[test]
    fn a_pause_ends_before_attempts_are_forgotten() {
        let here = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        let user = UserId::new(uuid::Uuid::nil());
        let email = "ann@example.com";
        for attempt in [
            Attempt::LogIn { email, from: here },
            Attempt::Register { from: here },
            Attempt::UseToken { from: here },
            Attempt::Reset { email, from: here },
            Attempt::Resend { to: user },
            Attempt::Code {
                of: user,
                from: here,
            },
        ] {
            for who in attempt.counted() {
                let forgotten = airouter_store::attempts::FORGOTTEN_AFTER_SECONDS;
                let longest = who.rule().longest.as_secs();
                assert!(longest < u64::try_from(forgotten).unwrap(), "{who:?}");
            }
        }
    }

    #[test]
    fn whom_an_attempt_concerns_is_one_whatever_its_form() {
        let key = |email: &str| Who::Account(same(email)).key();
        assert!(key("Ann@Example.com") == key("ann@example.com"));
        assert!(key("ann@example.com") != key("bob@example.com"));
        assert!(key("ann@example.com") != Who::Mailbox(same("ann@example.com")).key());
        let from = |text: &str| Who::Address(network(text.parse().unwrap())).key();
        assert!(from("2001:db8::1") == from("2001:db8::2"));
        assert!(from("192.0.2.1") != from("192.0.2.2"));
    }
}
