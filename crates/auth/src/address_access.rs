//! From where a client key may be used.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Most networks of one key.
pub const MOST_NETWORKS: usize = 64;
/// Bits before the IPv4 address in an IPv6 address that stands for one (`::ffff:192.0.2.1`).
const MAPPED_BITS: u8 = 96;

/// The addresses from which a key may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AddressAccess {
    /// Every address.
    #[default]
    All,
    /// Those in these networks and no others.
    Only(Arc<[IpNet]>),
}

/// Not an address, and not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither an address nor a network such as 192.0.2.0/24")]
pub struct NotANetwork;

impl AddressAccess {
    /// Reads what was stored as [`AddressAccess::texts`]. An entry that can't be read allows nothing.
    pub fn from_stored(texts: Option<&[String]>) -> Self {
        match texts {
            None => Self::All,
            Some(texts) => Self::Only(texts.iter().filter_map(|text| network(text).ok()).collect()),
        }
    }

    /// Whether the key may be used from `address`. An IPv4 address that is written as an IPv6 one is the IPv4 address.
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Only(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }

    /// The networks as they are stored and shown; `None` is every address.
    pub fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(networks) => Some(networks.iter().map(IpNet::to_string).collect()),
        }
    }
}

/// Reads an address or a network in CIDR notation: as the network that it is in, IPv4 wherever it is that.
pub fn network(text: &str) -> Result<IpNet, NotANetwork> {
    let read = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| NotANetwork)?,
    };
    Ok(canonical(read).trunc())
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let (address, length) = (mapped.addr().to_ipv4_mapped(), mapped.prefix_len());
    address
        .zip(length.checked_sub(MAPPED_BITS))
        .and_then(|(address, length)| Ipv4Net::new(address, length).ok())
        .map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(texts: &[&str]) -> AddressAccess {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        AddressAccess::from_stored(Some(&texts))
    }

    fn is_allowed(access: &AddressAccess, address: &str) -> bool {
        access.allows(address.parse().unwrap())
    }

    #[test]
    fn what_is_in_a_network_is_allowed() {
        let access = only(&["192.0.2.0/24", "203.0.113.7", "2001:db8::/32"]);
        for allowed in [
            "192.0.2.255",
            "::ffff:192.0.2.1",
            "203.0.113.7",
            "2001:db8:1::1",
        ] {
            assert!(is_allowed(&access, allowed), "{allowed}");
        }
        for refused in [
            "192.0.3.0",
            "203.0.113.8",
            "2001:db9::",
            "::192.0.2.1",
            "::1",
        ] {
            assert!(!is_allowed(&access, refused), "{refused}");
        }
        assert!(is_allowed(&AddressAccess::All, "192.0.3.0"));
        assert!(!is_allowed(&only(&[]), "192.0.2.1"));
    }

    #[test]
    fn what_cant_be_read_allows_nothing() {
        let access = only(&["nonsense", "192.0.2.0/24"]);
        assert!(is_allowed(&access, "192.0.2.1"));
        assert!(!is_allowed(&only(&["nonsense"]), "192.0.2.1"));
    }

    #[test]
    fn networks_are_written_in_one_way() {
        for (text, written) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), written);
        }
        for wrong in [
            "",
            "192.0.2",
            "192.0.2.0/33",
            "192.0.2.0/",
            "a/24",
            "10.0.0.1 ",
            "::/129",
        ] {
            assert_eq!(network(wrong), Err(NotANetwork), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(bits: u128, length in 0_u8..=128, is_v4: bool) {
            let address: IpAddr = if is_v4 {
                IpAddr::V4(u32::try_from(bits >> 96).unwrap().into())
            } else {
                IpAddr::V6(bits.into())
            };
            let length = if is_v4 { length.min(32) } else { length };
            let access = only(&[&format!("{address}/{length}")]);
            prop_assert!(access.allows(address));
            prop_assert_eq!(AddressAccess::from_stored(access.texts().as_deref()), access);
        }
    }
}
