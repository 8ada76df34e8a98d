//! The keys that access tokens are signed with, derived from the operator's `SECRET_KEY`s.

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::{constant_time, hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Separate the uses of the secret from each other and from all others.
const SIGNING: &[u8] = b"air router: access tokens, v1";
const NAMING: &[u8] = b"air router: name of the key of access tokens, v1";
const FORGERY: &[u8] = b"air router: proof against request forgery, v1";

const KEY_LENGTH: usize = 32;
/// Bytes of a key's name.
const NAME_LENGTH: usize = 4;
/// More than any rotation needs.
const MOST_KEYS: usize = 16;

/// What is derived from each secret: the first signs, all verify.
pub struct TokenKeys {
    pub(crate) signing: TokenKey,
    pub(crate) retired: Vec<TokenKey>,
}

/// One key with its name, the `kid` of what it signs.
pub(crate) struct TokenKey {
    pub(crate) name: String,
    pub(crate) signing: EncodingKey,
    pub(crate) verifying: DecodingKey,
    forgery: hmac::Key,
}

/// Why keys can't be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenKeysError {
    /// An entry isn't 32 bytes in base64.
    #[error("secret key {position} is not 32 bytes in base64")]
    NotAKey {
        /// Which one, from 1.
        position: usize,
    },
    /// More than 16 keys.
    #[error("more than {MOST_KEYS} secret keys")]
    TooMany,
}

impl TokenKeys {
    /// Derives keys from comma-separated secrets, each 32 bytes in base64.
    pub fn parse(text: &SecretString) -> Result<Self, TokenKeysError> {
        let mut keys = Vec::new();
        for (index, entry) in text.expose_secret().split(',').enumerate() {
            if index >= MOST_KEYS {
                return Err(TokenKeysError::TooMany);
            }
            let position = index + 1;
            keys.push(TokenKey::parse(entry.trim()).ok_or(TokenKeysError::NotAKey { position })?);
        }
        let mut keys = keys.into_iter();
        let signing = keys.next().ok_or(TokenKeysError::NotAKey { position: 1 })?;
        Ok(Self {
            signing,
            retired: keys.collect(),
        })
    }

    /// What a page must repeat in a header when its browser sends the session's cookie: another site can't read it.
    pub fn forgery_proof(&self, session: Uuid) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.signing.forgery, session.as_bytes()))
    }

    /// Whether this is the proof of that session, by whichever key.
    pub fn is_forgery_proof(&self, session: Uuid, presented: &str) -> bool {
        let Ok(presented) = URL_SAFE_NO_PAD.decode(presented) else {
            return false;
        };
        self.all().any(|key| {
            let expected = hmac::sign(&key.forgery, session.as_bytes());
            constant_time::verify_slices_are_equal(expected.as_ref(), &presented).is_ok()
        })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &TokenKey> {
        std::iter::once(&self.signing).chain(&self.retired)
    }
}

impl TokenKey {
    fn parse(text: &str) -> Option<Self> {
        let secret = Zeroizing::new(BASE64.decode(text).ok()?);
        if secret.len() != KEY_LENGTH {
            return None;
        }
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret);
        let derive = |purpose: &[u8]| -> Option<Zeroizing<[u8; KEY_LENGTH]>> {
            let mut derived = Zeroizing::new([0; KEY_LENGTH]);
            let purpose = [purpose];
            let material = extracted.expand(&purpose, hkdf::HKDF_SHA256).ok()?;
            material.fill(derived.as_mut_slice()).ok()?;
            Some(derived)
        };
        let mut name = String::new();
        for byte in derive(NAMING)?.iter().take(NAME_LENGTH) {
            // Writing to a string can't fail.
            let _ = write!(name, "{byte:02x}");
        }
        let signing = derive(SIGNING)?;
        Some(Self {
            name,
            signing: EncodingKey::from_secret(signing.as_slice()),
            verifying: DecodingKey::from_secret(signing.as_slice()),
            forgery: hmac::Key::new(hmac::HMAC_SHA256, derive(FORGERY)?.as_slice()),
        })
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenKeys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const SECOND: &str = "/wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn keys(text: &str) -> TokenKeys {
        TokenKeys::parse(&SecretString::from(text)).unwrap()
    }

    #[test]
    fn a_proof_is_of_one_session_and_outlives_a_rotation() {
        let (session, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let before = keys(FIRST);
        let proof = before.forgery_proof(session);
        assert!(before.is_forgery_proof(session, &proof));
        assert!(!before.is_forgery_proof(other, &proof));
        for wrong in ["", "no base64 !", "AAAA", &proof[1..]] {
            assert!(!before.is_forgery_proof(session, wrong), "{wrong}");
        }
        assert!(keys(&format!("{SECOND}, {FIRST}")).is_forgery_proof(session, &proof));
        assert!(!keys(SECOND).is_forgery_proof(session, &proof));
    }

    #[test]
    fn keys_have_names_and_do_not_print() {
        let (first, second) = (keys(FIRST), keys(SECOND));
        assert_eq!(first.signing.name.len(), 8);
        assert_ne!(first.signing.name, second.signing.name);
        assert_eq!(format!("{first:?}"), "TokenKeys(…)");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let parse = |text: &str| TokenKeys::parse(&SecretString::from(text)).unwrap_err();
        assert_eq!(parse(""), TokenKeysError::NotAKey { position: 1 });
        assert_eq!(
            parse(&format!("{FIRST},AAAA")),
            TokenKeysError::NotAKey { position: 2 }
        );
        assert_eq!(parse(&vec![FIRST; 17].join(",")), TokenKeysError::TooMany);
    }
}
