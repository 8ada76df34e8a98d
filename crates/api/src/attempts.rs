//! Slows down whoever guesses passwords: attempts are counted by account and by address, in bounded memory, and beyond a
//! few there is a pause after each, twice as long as the one before. Each replica counts for itself.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use airouter_billing::Timestamp;
use quick_cache::unsync::Cache;

use crate::names::network;

/// Accounts and addresses that are counted at the same time; those that come once are forgotten first.
const MOST: usize = 100_000;

/// Whose attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// To log in to this account; whether it exists doesn't matter.
    Account(Box<str>),
    /// To log in from this network.
    Address(IpAddr),
    /// To register from this network.
    Registering(IpAddr),
}

impl Who {
    /// Attempts without a pause.
    const fn free(&self) -> u32 {
        match self {
            Self::Account(_) => 5,
            // Many people may share an address.
            Self::Address(_) => 50,
            Self::Registering(_) => 100,
        }
    }

    /// The longest pause. An account's is short: others could keep its owner out.
    const fn longest_pause(&self) -> Duration {
        match self {
            Self::Account(_) => Duration::from_secs(60),
            Self::Address(_) | Self::Registering(_) => Duration::from_secs(15 * 60),
        }
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
    /// Counts an attempt to log in, as one that failed, before it is made: many at the same time count too. An error says how
    /// long to wait; nothing is counted then.
    pub(crate) fn log_in(
        &self,
        email: &str,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(), Duration> {
        self.count(&[account(email), Who::Address(network(address))], now)
    }

    /// Takes back an attempt that succeeded: all of the account's, one of the address's.
    pub(crate) fn logged_in(&self, email: &str, address: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&account(email));
        let address = Who::Address(network(address));
        if let Some(mut count) = counts.get_mut(&address) {
            count.attempts = count.attempts.saturating_sub(1);
        }
    }

    /// Counts a registration. An error says how long to wait.
    pub(crate) fn register(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.count(&[Who::Registering(network(address))], now)
    }

    fn count(&self, everybody: &[Who], now: Timestamp) -> Result<(), Duration> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = everybody
            .iter()
            .filter_map(|who| wait(who, counts.get(who).copied()?, now));
        if let Some(longest) = waits.max() {
            return Err(longest);
        }
        for who in everybody {
            let before = counts
                .get(who)
                .copied()
                .filter(|count| now.micros_since(count.last) < FORGOTTEN_AFTER)
                .unwrap_or_default();
            let count = Count {
                attempts: before.attempts.saturating_add(1),
                last: now,
            };
            counts.insert(who.clone(), count);
        }
        Ok(())
    }
}

/// How much of the pause after the last attempt is left.
fn wait(who: &Who, count: Count, now: Timestamp) -> Option<Duration> {
    let beyond = count.attempts.checked_sub(who.free())?;
    let pause = Duration::from_secs(1_u64 << beyond.min(16)).min(who.longest_pause());
    let left = pause.saturating_sub(Duration::from_micros(now.micros_since(count.last)));
    (!left.is_zero()).then_some(left)
}

fn account(email: &str) -> Who {
    Who::Account(email.to_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_795_176_000_000_000).plus_seconds(seconds)
    }

    #[test]
    fn pauses_grow_and_end() {
        let attempts = Attempts::default();
        for _ in 0..5 {
            attempts.log_in("ann@example.com", HERE, at(0)).unwrap();
        }
        let mut now = 0;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = attempts.log_in("Ann@Example.com", HERE, at(now));
            assert_eq!(wait, Err(Duration::from_secs(pause)));
            // Another account is not concerned.
            attempts
                .log_in(&format!("bob{now}@example.com"), HERE, at(now))
                .unwrap();
            now += i64::try_from(pause).unwrap();
            attempts.log_in("ann@example.com", HERE, at(now)).unwrap();
        }
        attempts
            .log_in("ann@example.com", HERE, at(now + 3600))
            .unwrap();
        attempts
            .log_in("ann@example.com", HERE, at(now + 3600))
            .unwrap();
    }

    #[test]
    fn a_success_forgets_the_accounts_attempts() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            attempts.log_in("ann@example.com", HERE, at(0)).unwrap();
            attempts.logged_in("ann@example.com", HERE);
        }
    }

    #[test]
    fn an_address_is_slowed_down_over_all_accounts() {
        let attempts = Attempts::default();
        for number in 0..50 {
            attempts
                .log_in(&format!("a{number}@example.com"), HERE, at(0))
                .unwrap();
        }
        assert!(attempts.log_in("z@example.com", HERE, at(0)).is_err());
        let elsewhere = "192.0.2.1".parse().unwrap();
        attempts.log_in("z@example.com", elsewhere, at(0)).unwrap();
        attempts.register(HERE, at(0)).unwrap();
    }
}
