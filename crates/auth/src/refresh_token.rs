//! Refresh tokens: what a session goes on with when its access token has expired. Opaque, used once; only the SHA-256 of
//! the whole text is kept.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::random::{self, RandomnessUnavailable};

/// For so long a session goes on without being refreshed, in seconds.
pub const REFRESH_TOKEN_SECONDS: i64 = 7 * 24 * 3600;

const PREFIX: &str = "air-rt-";
const SESSION_LENGTH: usize = 16;
const RANDOM_LENGTH: usize = 32;

/// A refresh token in clear text: the session that it belongs to, and 256 random bits. Doesn't print.
#[derive(Clone)]
pub struct RefreshToken {
    session: Uuid,
    text: SecretString,
}

/// Not a refresh token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not in the form of a refresh token")]
pub struct NotARefreshToken;

/// SHA-256 of an opaque token's whole text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash([u8; 32]);

impl RefreshToken {
    /// A new token of this session.
    pub fn generate(session: Uuid) -> Result<Self, RandomnessUnavailable> {
        let random = random::bytes::<RANDOM_LENGTH>()?;
        let mut bytes = Zeroizing::new([0; SESSION_LENGTH + RANDOM_LENGTH]);
        let (start, end) = bytes.split_at_mut(SESSION_LENGTH);
        start.copy_from_slice(session.as_bytes());
        end.copy_from_slice(random.as_slice());
        let text = Zeroizing::new(BASE64.encode(bytes.as_slice()));
        Ok(Self {
            session,
            text: SecretString::from(format!("{PREFIX}{}", text.as_str())),
        })
    }

    /// Reads a token as it is presented.
    pub fn parse(text: &str) -> Result<Self, NotARefreshToken> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotARefreshToken)?;
        let mut bytes = Zeroizing::new([0; SESSION_LENGTH + RANDOM_LENGTH]);
        let length = BASE64
            .decode_slice(encoded, bytes.as_mut_slice())
            .map_err(|_| NotARefreshToken)?;
        if length != bytes.len() {
            return Err(NotARefreshToken);
        }
        let session = bytes
            .get(..SESSION_LENGTH)
            .and_then(|bytes| Uuid::from_slice(bytes).ok())
            .ok_or(NotARefreshToken)?;
        Ok(Self {
            session,
            text: SecretString::from(text),
        })
    }

    /// The session that it names.
    pub const fn session(&self) -> Uuid {
        self.session
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose().as_bytes())
    }

    /// The clear text, for its owner.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl TokenHash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, bytes);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    /// The hash as it is stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RefreshToken(…)")
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_names_its_session_and_is_new_each_time() {
        let session = Uuid::from_u128(7);
        let token = RefreshToken::generate(session).unwrap();
        let read = RefreshToken::parse(token.expose()).unwrap();
        assert_eq!(read.session(), session);
        assert_eq!(read.hash(), token.hash());
        let other = RefreshToken::generate(session).unwrap();
        assert_ne!(other.hash(), token.hash());
        assert_eq!(format!("{token:?}"), "RefreshToken(…)");
    }

    #[test]
    fn other_texts_are_refused() {
        let token = RefreshToken::generate(Uuid::from_u128(7)).unwrap();
        let text = token.expose();
        for wrong in [
            "",
            "air-rt-",
            &text[1..],
            &text[..60],
            &format!("{text}AAAA"),
        ] {
            assert_eq!(RefreshToken::parse(wrong).unwrap_err(), NotARefreshToken);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(air-rt-)?\\PC{0,80}") {
            if let Ok(token) = RefreshToken::parse(&text) {
                prop_assert_eq!(token.expose(), text);
            }
        }
    }
}
