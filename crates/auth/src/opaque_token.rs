//! Opaque tokens: a prefix that says what it is, and 256 random bits. Only the SHA-256 of the whole text is kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::random::{self, RandomnessUnavailable};
use crate::refresh_token::TokenHash;

const RANDOM_LENGTH: usize = 32;
/// Characters of a preview beyond the prefix.
const SHOWN: usize = 4;

/// What an opaque token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpaqueKind {
    /// Scripts of the operator send it.
    Operator,
    /// Lets somebody register.
    Invitation,
    /// Lets somebody become a member of an organization.
    Membership,
    /// Proves that somebody reads what is sent to an e-mail address.
    EmailVerification,
    /// Lets somebody who reads it choose a new password.
    PasswordReset,
}

impl OpaqueKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Operator => "sk-air-op-",
            Self::Invitation => "air-inv-",
            Self::Membership => "air-org-",
            Self::EmailVerification => "air-ev-",
            Self::PasswordReset => "air-pr-",
        }
    }

    /// Whether a text says that it is one; that it is in the form of one, only [`OpaqueToken::parse`] finds.
    pub fn claims(self, text: &str) -> bool {
        text.starts_with(self.prefix())
    }
}

/// An opaque token in clear text. Doesn't print.
#[derive(Clone)]
pub struct OpaqueToken {
    kind: OpaqueKind,
    text: SecretString,
}

/// Not in the form of such a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not in the form of such a token")]
pub struct NotSuchAToken;

impl OpaqueToken {
    /// A new one.
    pub fn generate(kind: OpaqueKind) -> Result<Self, RandomnessUnavailable> {
        let random = random::bytes::<RANDOM_LENGTH>()?;
        let text = Zeroizing::new(BASE64.encode(random.as_slice()));
        Ok(Self {
            kind,
            text: SecretString::from(format!("{}{}", kind.prefix(), text.as_str())),
        })
    }

    /// Reads one as it is presented.
    pub fn parse(kind: OpaqueKind, text: &str) -> Result<Self, NotSuchAToken> {
        let encoded = text.strip_prefix(kind.prefix()).ok_or(NotSuchAToken)?;
        let mut bytes = Zeroizing::new([0; RANDOM_LENGTH]);
        let length = BASE64
            .decode_slice(encoded, bytes.as_mut_slice())
            .map_err(|_| NotSuchAToken)?;
        if length != RANDOM_LENGTH {
            return Err(NotSuchAToken);
        }
        Ok(Self {
            kind,
            text: SecretString::from(text),
        })
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose().as_bytes())
    }

    /// Enough of it to recognize it.
    pub fn preview(&self) -> String {
        let text = self.expose();
        let shown = text.chars().take(self.kind.prefix().len() + SHOWN);
        format!("{}…", shown.collect::<String>())
    }

    /// The clear text, for its owner.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OpaqueToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_generated_is_read_as_its_kind_only() {
        let token = OpaqueToken::generate(OpaqueKind::Operator).unwrap();
        let text = token.expose().to_owned();
        assert!(OpaqueKind::Operator.claims(&text));
        let read = OpaqueToken::parse(OpaqueKind::Operator, &text).unwrap();
        assert_eq!(read.hash().as_bytes(), token.hash().as_bytes());
        assert!(OpaqueToken::parse(OpaqueKind::Invitation, &text).is_err());
        assert!(OpaqueToken::parse(OpaqueKind::Operator, &text[..text.len() - 1]).is_err());
        assert_eq!(format!("{token:?}"), "OpaqueToken(…)");
        assert!(text.starts_with(token.preview().trim_end_matches('…')));
        assert_eq!(
            token.preview().chars().count(),
            "sk-air-op-1234…".chars().count()
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(sk-air-op-|air-inv-|air-org-|air-ev-|air-pr-)?\\PC{0,60}") {
            for kind in [
                OpaqueKind::Operator,
                OpaqueKind::Invitation,
                OpaqueKind::Membership,
                OpaqueKind::EmailVerification,
                OpaqueKind::PasswordReset,
            ] {
                if let Ok(token) = OpaqueToken::parse(kind, &text) {
                    prop_assert_eq!(token.expose(), text.as_str());
                }
            }
        }
    }
}
