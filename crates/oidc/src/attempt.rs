//! One attempt to log in: what ties the answer of a provider to the browser that was sent there.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

const SECRET_LENGTH: usize = 32;

/// An attempt. All that it sends and expects is derived from one secret, which its browser keeps. Doesn't print.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt([u8; SECRET_LENGTH]);

/// No attempt could be made, or this is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no attempt to log in")]
pub struct NoAttempt;

impl Attempt {
    /// A new one.
    pub fn generate() -> Result<Self, NoAttempt> {
        let mut secret = [0; SECRET_LENGTH];
        rand::fill(&mut secret).map_err(|_| NoAttempt)?;
        Ok(Self(secret))
    }

    /// Reads one as [`Attempt::expose`] writes it.
    pub fn parse(text: &str) -> Result<Self, NoAttempt> {
        let bytes = BASE64.decode(text).map_err(|_| NoAttempt)?;
        bytes.try_into().map(Self).map_err(|_| NoAttempt)
    }

    /// The clear text, for its browser.
    pub fn expose(&self) -> String {
        BASE64.encode(self.0)
    }

    /// Comes back beside the code.
    pub(crate) fn state(&self) -> String {
        self.derived(b"state")
    }

    /// Whether this is what came back. Takes as long whatever it is.
    pub fn has_state(&self, state: &str) -> bool {
        constant_time::verify_slices_are_equal(self.state().as_bytes(), state.as_bytes()).is_ok()
    }

    /// Comes back within the ID token.
    pub(crate) fn nonce(&self) -> String {
        self.derived(b"nonce")
    }

    /// Proves to the provider that who exchanges the code is who asked for it.
    pub(crate) fn verifier(&self) -> String {
        self.derived(b"verifier")
    }

    /// What the provider is told of the verifier beforehand (S256).
    pub(crate) fn challenge(&self) -> String {
        BASE64.encode(digest::digest(&digest::SHA256, self.verifier().as_bytes()))
    }

    fn derived(&self, purpose: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        BASE64.encode(hmac::sign(&key, purpose))
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Attempt(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_is_of_one_attempt_and_one_purpose() {
        let (one, other) = (Attempt::generate().unwrap(), Attempt::generate().unwrap());
        let texts = [
            one.state(),
            one.nonce(),
            one.verifier(),
            one.challenge(),
            other.state(),
        ];
        for (index, text) in texts.iter().enumerate() {
            assert!(text.len() >= 43, "RFC 7636 §4.1");
            assert!(!texts[..index].contains(text));
        }
        assert!(one.has_state(&one.state()) && !one.has_state(&other.state()));
        assert!(!one.has_state("") && !one.has_state(&one.state()[1..]));
        let read = Attempt::parse(&one.expose()).unwrap();
        assert_eq!(read, one);
        assert_eq!(format!("{one:?}"), "Attempt(…)");
    }

    #[test]
    fn what_is_no_attempt_is_refused() {
        for text in ["", "AAAA", "no base64 !"] {
            assert_eq!(Attempt::parse(text), Err(NoAttempt), "{text}");
        }
    }

    #[test]
    fn a_challenge_is_the_hash_of_the_verifier() {
        // RFC 7636, appendix B, of its own verifier.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
        assert_eq!(
            BASE64.encode(hash),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
