//! Which address a request comes from, where proxies stand between the client and us.
//!
//! Only what a trusted proxy says counts. The headers hold a list that every proxy on the way adds to at its end, and that
//! the client may have begun with anything: the client is the last one in it that is no trusted proxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most proxies in a row that are followed.
const MOST_HOPS: usize = 32;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A client.
    Client(IpAddr),
    /// A trusted proxy, which says for whom it speaks.
    Proxy(IpAddr),
}

/// The proxies that are believed when they say for whom they speak.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl FromIterator<IpNet> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl TrustedProxies {
    /// Who is at an address. An IPv4 address that is written as an IPv6 one is the IPv4 address.
    pub(crate) fn peer(&self, address: IpAddr) -> Peer {
        let address = address.to_canonical();
        if self.0.iter().any(|network| network.contains(&address)) {
            Peer::Proxy(address)
        } else {
            Peer::Client(address)
        }
    }

    /// The client of a request that `peer` sent. Where a trusted proxy names nobody, or `X-Forwarded-For` and `Forwarded`
    /// name different clients (one of them is the client's own invention then), it is the proxy.
    pub(crate) fn client(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        let proxy = match peer {
            Peer::Client(address) => return address,
            Peer::Proxy(address) => address,
        };
        let listed = self.last_untrusted(proxy, elements(headers, &X_FORWARDED_FOR), node_address);
        let forwarded = self.last_untrusted(proxy, elements(headers, &FORWARDED), forwarded_for);
        match (listed, forwarded) {
            (Some(listed), Some(forwarded)) if listed != forwarded => proxy,
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => proxy,
        }
    }

    /// Goes back through a list, as long as it names trusted proxies. What can't be read ends it. `None`: it is empty.
    fn last_untrusted<'a>(
        &self,
        proxy: IpAddr,
        elements: impl Iterator<Item = &'a str>,
        read: impl Fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let mut elements = elements.take(MOST_HOPS).peekable();
        elements.peek()?;
        let mut last = proxy;
        for element in elements {
            match read(element).map(|address| self.peer(address)) {
                Some(Peer::Client(client)) => return Some(client),
                Some(Peer::Proxy(address)) => last = address,
                None => break,
            }
        }
        Some(last)
    }
}

/// The elements of a header's list, the last one first. Commas in quotes are not looked at: the last element is a proxy's
/// own, whatever the client wrote before it.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .rev()
        .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','))
        .map(str::trim)
}

/// `for=…` of an element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let node = element.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| value.trim())
    })?;
    let unquoted = node
        .strip_prefix('"')
        .and_then(|node| node.strip_suffix('"'))
        .unwrap_or(node);
    node_address(unquoted)
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node_address(node: &str) -> Option<IpAddr> {
    let bracketed = || node.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    node.parse()
        .ok()
        .or_else(|| node.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| bracketed().map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const PROXY: &str = "10.0.0.1";

    fn trusted() -> TrustedProxies {
        ["10.0.0.0/8", "fd00::/8"]
            .iter()
            .map(|network| network.parse::<IpNet>().unwrap())
            .collect()
    }

    fn client_of(peer: &str, lines: &[(&HeaderName, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let trusted = trusted();
        let peer = trusted.peer(peer.parse().unwrap());
        trusted.client(peer, &headers).to_string()
    }

    fn listed(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| (&X_FORWARDED_FOR, *line)).collect();
        client_of(PROXY, &lines)
    }

    fn forwarded(line: &str) -> String {
        client_of(PROXY, &[(&FORWARDED, line)])
    }

    #[test]
    fn from_anyone_else_headers_mean_nothing() {
        let forged = [(&X_FORWARDED_FOR, "1.1.1.1"), (&FORWARDED, "for=1.1.1.1")];
        assert_eq!(client_of("192.0.2.7", &forged), "192.0.2.7");
        assert_eq!(client_of("::ffff:192.0.2.7", &forged), "192.0.2.7");
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        assert_eq!(listed(&["192.0.2.7"]), "192.0.2.7");
        assert_eq!(listed(&["1.1.1.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(
            listed(&["1.1.1.1, 192.0.2.7,10.9.9.9 , fd00::5"]),
            "192.0.2.7"
        );
        assert_eq!(listed(&["1.1.1.1", "192.0.2.7, 10.9.9.9"]), "192.0.2.7");
        // Nobody else: the first proxy of the row is a client inside.
        assert_eq!(listed(&["10.7.7.7, 10.9.9.9"]), "10.7.7.7");
        assert_eq!(listed(&["::ffff:10.9.9.9"]), "10.9.9.9");
        assert_eq!(
            client_of("::ffff:10.0.0.1", &[(&X_FORWARDED_FOR, "192.0.2.7")]),
            "192.0.2.7"
        );
    }

    #[test]
    fn what_can_not_be_read_ends_the_list() {
        assert_eq!(listed(&[]), PROXY);
        assert_eq!(listed(&[""]), PROXY);
        assert_eq!(listed(&["192.0.2.7, unknown"]), PROXY);
        assert_eq!(listed(&["192.0.2.7, unknown, 10.9.9.9"]), "10.9.9.9");
        assert_eq!(listed(&["192.0.2.7,"]), PROXY);
    }

    #[test]
    fn nodes_may_have_ports() {
        assert_eq!(listed(&["192.0.2.7:4711"]), "192.0.2.7");
        assert_eq!(listed(&["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(listed(&["[2001:db8::7]"]), "2001:db8::7");
        assert_eq!(listed(&["2001:db8::7"]), "2001:db8::7");
        assert_eq!(listed(&["192.0.2.7:"]), PROXY);
    }

    #[test]
    fn forwarded_is_the_same_in_other_words() {
        assert_eq!(forwarded("for=192.0.2.7"), "192.0.2.7");
        assert_eq!(
            forwarded("for=1.1.1.1, proto=https;For=\"[2001:db8::7]:80\";by=x"),
            "2001:db8::7"
        );
        assert_eq!(forwarded("for=192.0.2.7, for=_hidden"), PROXY);
        assert_eq!(forwarded("proto=https"), PROXY);
        // A quote that the client left open does not swallow what the proxy added.
        assert_eq!(forwarded("for=\"1.1.1.1, for=192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn headers_that_disagree_are_not_believed() {
        let lines = |listed, forwarded| {
            client_of(
                PROXY,
                &[(&X_FORWARDED_FOR, listed), (&FORWARDED, forwarded)],
            )
        };
        assert_eq!(lines("192.0.2.7", "for=192.0.2.7"), "192.0.2.7");
        assert_eq!(lines("192.0.2.7", "for=1.1.1.1"), PROXY);
        assert_eq!(lines("1.1.1.1", "for=192.0.2.7"), PROXY);
    }

    proptest! {
        /// Whatever a client writes into the headers, it can't choose its address: it is the one that the proxy saw, or,
        /// in doubt, the proxy's.
        #[test]
        fn nobody_chooses_an_address(written in "[ -~]{0,60}", other in "[ -~]{0,60}") {
            let line = format!("{written}, 192.0.2.7");
            prop_assert_eq!(listed(&[&line]), "192.0.2.7");
            let found = client_of(PROXY, &[(&X_FORWARDED_FOR, &line), (&FORWARDED, &other)]);
            prop_assert!(found == "192.0.2.7" || found == PROXY, "{}", found);
            let line = format!("{written}, for=192.0.2.7");
            let found = client_of(PROXY, &[(&FORWARDED, &line), (&X_FORWARDED_FOR, &other)]);
            prop_assert!(found == "192.0.2.7" || found == PROXY, "{}", found);
        }
    }
}
