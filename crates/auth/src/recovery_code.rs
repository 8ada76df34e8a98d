//! Recovery codes: what somebody logs in with who has lost his authenticator. 80 random bits, shown as four groups of four
//! characters; only the SHA-256 is kept.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::base32;
use crate::random::{self, RandomnessUnavailable};
use crate::refresh_token::TokenHash;

/// 80 bits: nobody finds one that has the hash.
const RANDOM_LENGTH: usize = 10;
const GROUP: usize = 4;

/// A recovery code in clear text. Doesn't print.
#[derive(Clone)]
pub struct RecoveryCode(SecretString);

/// Not in the form of a recovery code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not in the form of a recovery code")]
pub struct NotARecoveryCode;

impl RecoveryCode {
    /// A new one.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        let random = random::bytes::<RANDOM_LENGTH>()?;
        Ok(Self::of(*random))
    }

    /// Reads one as somebody types it, with whatever case, spaces and dashes.
    pub fn parse(text: &str) -> Result<Self, NotARecoveryCode> {
        let text: String = text
            .chars()
            .filter(|character| !matches!(character, ' ' | '-'))
            .collect();
        base32::decode::<RANDOM_LENGTH>(&text)
            .map(Self::of)
            .ok_or(NotARecoveryCode)
    }

    fn of(bytes: [u8; RANDOM_LENGTH]) -> Self {
        let mut shown = String::new();
        for (place, character) in base32::encode(&bytes).chars().enumerate() {
            if place > 0 && place % GROUP == 0 {
                shown.push('-');
            }
            shown.push(character.to_ascii_lowercase());
        }
        Self(SecretString::from(shown))
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose().as_bytes())
    }

    /// The clear text, for its owner.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RecoveryCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = RecoveryCode::generate().unwrap();
        let shown = code.expose();
        assert_eq!(shown.len(), "abcd-efgh-ijkl-mnop".len());
        for typed in [
            shown.to_owned(),
            shown.to_uppercase(),
            shown.replace('-', ""),
            format!(" {} ", shown.replace('-', " ")),
        ] {
            assert_eq!(RecoveryCode::parse(&typed).unwrap().hash(), code.hash());
        }
        for wrong in ["", "123456", &shown[1..], &format!("{shown}a")] {
            assert_eq!(RecoveryCode::parse(wrong).unwrap_err(), NotARecoveryCode);
        }
        let other = RecoveryCode::generate().unwrap();
        assert_ne!(other.hash(), code.hash());
        assert_eq!(format!("{code:?}"), "RecoveryCode(…)");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = RecoveryCode::parse(&text);
        }
    }
}
