//! E-mail addresses and names, as people type them, and the networks that they come from.

use std::net::IpAddr;

/// RFC 5321, 4.5.3.1.3: a path has at most 256 characters, two of them brackets.
const LONGEST_EMAIL: usize = 254;
const LONGEST_NAME: usize = 200;
/// Longer texts are no keys of upstreams.
const LONGEST_KEY: usize = 512;
const LONGEST_AGREEMENT: usize = 500;

/// An e-mail address without spaces around it; `None` for what can't be one. Whether it exists only a mail can tell.
pub fn email(text: &str) -> Option<String> {
    let text = text.trim();
    let (local, domain) = text.rsplit_once('@')?;
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@')
    };
    (is_plain(local) && is_plain(domain) && text.len() <= LONGEST_EMAIL).then(|| text.to_owned())
}

/// A name to show, without spaces around it.
pub fn name(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name =
        !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(char::is_control);
    is_name.then(|| text.to_owned())
}

/// A text that says where an agreement is to be found, without spaces around it.
pub fn agreement(text: &str) -> Option<String> {
    let text = text.trim();
    let is_text =
        !text.is_empty() && text.len() <= LONGEST_AGREEMENT && !text.contains(char::is_control);
    is_text.then(|| text.to_owned())
}

/// Whether this can be a key of an upstream.
pub fn is_key(text: &str) -> bool {
    (1..=LONGEST_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Who has one address of a /64 of IPv6 has all of them.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_an_address_is_one() {
        assert_eq!(email(" Ann@example.com "), Some("Ann@example.com".into()));
        for wrong in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "a nn@example.com",
            "a@b@c",
            "a\0@b",
        ] {
            assert_eq!(email(wrong), None, "{wrong}");
        }
        assert_eq!(email(&format!("{}@example.com", "a".repeat(250))), None);
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(name(" Ann Lee "), Some("Ann Lee".into()));
        for wrong in ["", "  ", "a\nb", "a\0b", &"a".repeat(201)] {
            assert_eq!(name(wrong), None);
        }
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:192.0.2.1"), parse("192.0.2.1"));
        assert_ne!(parse("192.0.2.1"), parse("192.0.2.2"));
    }
}
