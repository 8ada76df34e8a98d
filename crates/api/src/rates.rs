//! How many calls somebody may make: so many at once, and as many a minute. Each replica counts for itself, in bounded memory.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use airouter_billing::{Timestamp, UserId};
use quick_cache::unsync::Cache;

use crate::names::network;

/// Calls a minute.
const CALLS: i64 = 600;
const WINDOW_MICROS: i64 = 60_000_000;
/// What one call uses up of the window.
const CALL_MICROS: i64 = WINDOW_MICROS / CALLS;
/// Who is counted at the same time; those that come seldom are forgotten first.
const MOST: usize = 100_000;

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// Of a login, and of the operator tokens that it made.
    Login(UserId),
    /// Of whoever has not said who it is, by network.
    Address(IpAddr),
}

/// Counts of calls: up to when each has used its window.
pub(crate) struct Rates(Mutex<Cache<Who, Timestamp>>);

impl Default for Rates {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MOST)))
    }
}

impl Rates {
    /// Counts a call of a login. An error says how long to wait; nothing is counted then.
    pub(crate) fn of_login(&self, user: UserId, now: Timestamp) -> Result<(), Duration> {
        self.count(Who::Login(user), now)
    }

    /// Counts a call from an address.
    pub(crate) fn of_address(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.count(Who::Address(network(address)), now)
    }

    fn count(&self, who: Who, now: Timestamp) -> Result<(), Duration> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used_until = counts.get(&who).copied().unwrap_or(now).max(now);
        let next = Timestamp::from_micros(used_until.as_micros().saturating_add(CALL_MICROS));
        let end = Timestamp::from_micros(now.as_micros().saturating_add(WINDOW_MICROS));
        if next > end {
            return Err(Duration::from_micros(next.micros_since(end)));
        }
        counts.insert(who, next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_window_is_used_up_and_comes_back() {
        let rates = Rates::default();
        let (ann, bob) = (
            UserId::new(Uuid::from_u128(1)),
            UserId::new(Uuid::from_u128(2)),
        );
        let at = |millis: i64| Timestamp::from_micros(1_795_176_000_000_000 + millis * 1_000);
        for _ in 0..CALLS {
            rates.of_login(ann, at(0)).unwrap();
        }
        assert_eq!(rates.of_login(ann, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(rates.of_login(ann, at(60)), Err(Duration::from_millis(40)));
        rates.of_login(bob, at(60)).unwrap();
        rates.of_login(ann, at(100)).unwrap();
        rates.of_login(ann, at(100)).unwrap_err();
        for _ in 0..CALLS {
            rates.of_login(ann, at(60_200)).unwrap();
        }
    }

    #[test]
    fn a_network_is_one_caller() {
        let rates = Rates::default();
        let now = Timestamp::from_micros(0);
        for number in 0..CALLS {
            let address = format!("2001:db8::{number:x}").parse().unwrap();
            rates.of_address(address, now).unwrap();
        }
        let refused = |text: &str| rates.of_address(text.parse().unwrap(), now).is_err();
        assert!(refused("2001:db8::ffff"));
        assert!(!refused("2001:db8:0:1::1"));
    }
}
