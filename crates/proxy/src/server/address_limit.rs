//! A bound on the connections that one address has at the same time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::client_address::Peer;

/// An IPv6 network of this size belongs to one customer: its addresses count together.
const IPV6_PREFIX_BITS: u32 = 64;

/// Counts connections by address, if there is a limit. Trusted proxies are not counted: they speak for many.
pub(super) struct AddressLimit(Option<Limit>);

struct Limit {
    most: NonZeroUsize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The address has as many connections as it may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// A connection that is counted as long as this lives.
pub(super) struct Place {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl AddressLimit {
    pub(super) fn new(most: Option<NonZeroUsize>) -> Self {
        Self(most.map(|most| Limit {
            most,
            open: Arc::default(),
        }))
    }

    /// Counts a connection; `None` where it does not count.
    pub(super) fn enter(&self, peer: Peer) -> Result<Option<Place>, TooMany> {
        let (Some(limit), Peer::Client(address)) = (&self.0, peer) else {
            return Ok(None);
        };
        let address = counted_as(address);
        let mut open = limit.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= limit.most.get() {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Place {
            open: Arc::clone(&limit.open),
            address,
        }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => {
            let mask = u128::MAX << (Ipv6Addr::BITS - IPV6_PREFIX_BITS);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Peer {
        Peer::Client(address.parse().unwrap())
    }

    #[test]
    fn each_address_has_its_own_places() {
        let limit = AddressLimit::new(NonZeroUsize::new(2));
        let first = limit.enter(client("192.0.2.7")).unwrap();
        let _second = limit.enter(client("192.0.2.7")).unwrap();
        assert!(limit.enter(client("192.0.2.7")).is_err());
        assert!(limit.enter(client("192.0.2.8")).is_ok());
        drop(first);
        assert!(limit.enter(client("192.0.2.7")).is_ok());
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let limit = AddressLimit::new(NonZeroUsize::new(2));
        drop(limit.enter(client("192.0.2.7")).unwrap());
        let open = limit.0.unwrap().open;
        assert!(open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let limit = AddressLimit::new(NonZeroUsize::new(1));
        let _place = limit.enter(client("2001:db8::1")).unwrap();
        assert!(limit.enter(client("2001:db8::ffff:0:0:2")).is_err());
        assert!(limit.enter(client("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn proxies_and_all_without_a_limit_come_in() {
        let proxy = Peer::Proxy("10.0.0.1".parse().unwrap());
        let limit = AddressLimit::new(NonZeroUsize::new(1));
        let places: Vec<_> = (0..3).map(|_| limit.enter(proxy)).collect();
        assert!(places.iter().all(|place| matches!(place, Ok(None))));
        let unlimited = AddressLimit::new(None);
        let places: Vec<_> = (0..3)
            .map(|_| unlimited.enter(client("192.0.2.7")))
            .collect();
        assert!(places.iter().all(Result::is_ok));
    }
}
