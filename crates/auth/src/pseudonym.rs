//! The names under which tenants are known upstream: stable, so that one tenant's abuse isn't everybody's, and telling
//! nothing about who the tenant is.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretSlice};

/// Separates this use of the secret from any other.
const PURPOSE: &[u8] = b"air router: pseudonym of an account, v1\0";

/// 128 bits are enough for pseudonyms never to meet.
const PSEUDONYM_BYTES: usize = 16;

/// Makes pseudonyms from account ids. Another secret makes other pseudonyms: it must outlive key rotations.
#[derive(Clone)]
pub struct Pseudonyms(hmac::Key);

/// What goes upstream as the `user` of a request: `air_` and 32 hexadecimal digits. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pseudonym(Arc<str>);

impl Pseudonyms {
    /// Pseudonyms under one secret, of 32 random bytes or more.
    pub fn new(secret: &SecretSlice<u8>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret()))
    }

    /// The pseudonym of an account, given by its id's bytes: always the same one.
    pub fn of(&self, account: &[u8; 16]) -> Pseudonym {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(PURPOSE);
        context.update(account);
        let tag = context.sign();
        let mut number = [0; PSEUDONYM_BYTES];
        for (digit, byte) in number.iter_mut().zip(tag.as_ref()) {
            *digit = *byte;
        }
        Pseudonym(format!("air_{:032x}", u128::from_be_bytes(number)).into())
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pseudonyms(…)")
    }
}

impl Pseudonym {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonyms(secret: u8) -> Pseudonyms {
        Pseudonyms::new(&SecretSlice::from(vec![secret; 32]))
    }

    #[test]
    fn a_pseudonym_is_stable_and_belongs_to_one_account_and_secret() {
        let of_first = pseudonyms(1).of(&[1; 16]);
        assert_eq!(of_first.as_str(), "air_b807f4faa520df971c0fa79e3aa51271");
        assert_ne!(pseudonyms(1).of(&[2; 16]), of_first);
        assert_ne!(pseudonyms(2).of(&[1; 16]), of_first);
    }

    #[test]
    fn a_pseudonym_is_a_short_plain_word() {
        let pseudonym = pseudonyms(1).of(&[1; 16]);
        let digits = pseudonym.as_str().strip_prefix("air_").unwrap();
        assert_eq!(digits.len(), 32);
        assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(pseudonym.to_string(), pseudonym.as_str());
    }
}
