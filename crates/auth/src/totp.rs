//! Codes of authenticator apps (RFC 6238): HMAC-SHA-1 of the number of half minutes since 1970, of which six digits are shown.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::base32;
use crate::random::{self, RandomnessUnavailable};

/// RFC 4226, 4, R6 recommends 160 bits.
const SECRET_LENGTH: usize = 20;
const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
const MODULUS: u32 = 1_000_000;
/// How many steps a clock may be wrong, or a code be old.
const TOLERANCE: i64 = 1;

/// What codes are made of. Doesn't print.
#[derive(Clone)]
pub struct TotpSecret(Zeroizing<[u8; SECRET_LENGTH]>);

/// Not in the form of a secret of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not in the form of a secret for codes")]
pub struct NotATotpSecret;

/// Which half minute since 1970 a code is of. None is good twice, and none after a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeStep(i64);

impl TimeStep {
    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TotpSecret {
    /// A new one.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        random::bytes::<SECRET_LENGTH>().map(Self)
    }

    /// Reads one as [`Self::text`] wrote it.
    pub fn parse(text: &SecretString) -> Result<Self, NotATotpSecret> {
        let bytes = base32::decode(text.expose_secret()).ok_or(NotATotpSecret)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The text that people type into an app.
    pub fn text(&self) -> SecretString {
        SecretString::from(base32::encode(self.0.as_slice()))
    }

    /// What apps read from a picture (Google Authenticator's key URI format).
    pub fn uri(&self, issuer: &str, account: &str) -> SecretString {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let (issuer, account) = (encoded(issuer), encoded(account));
        let secret = self.text();
        SecretString::from(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
            secret.expose_secret()
        ))
    }

    /// Which step's code this is, of now and those beside it. It takes as long whichever it is, or none.
    pub fn step_of(&self, code: &str, seconds: i64) -> Option<TimeStep> {
        let now = seconds.div_euclid(STEP_SECONDS);
        let mut found = None;
        for step in now - TOLERANCE..=now + TOLERANCE {
            let expected = self.code(TimeStep(step));
            if verify_slices_are_equal(expected.as_bytes(), code.as_bytes()).is_ok() {
                found = Some(TimeStep(step));
            }
        }
        found
    }

    /// The code that an app shows at this time.
    pub fn code_at(&self, seconds: i64) -> Zeroizing<String> {
        self.code(TimeStep(seconds.div_euclid(STEP_SECONDS)))
    }

    /// RFC 4226, 5.3.
    fn code(&self, step: TimeStep) -> Zeroizing<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.as_slice());
        let tag = hmac::sign(&key, &step.0.to_be_bytes());
        let bytes = tag.as_ref();
        let offset = usize::from(bytes.last().copied().unwrap_or_default() & 15);
        let part = bytes.iter().skip(offset).take(4);
        let number = part.fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        Zeroizing::new(format!("{:0DIGITS$}", (number & 0x7fff_ffff) % MODULUS))
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TotpSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standards() -> TotpSecret {
        TotpSecret(Zeroizing::new(*b"12345678901234567890"))
    }

    /// RFC 6238, appendix B; of its eight digits the last six.
    #[test]
    fn the_standards_examples_come_out() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(standards().code_at(seconds).as_str(), code);
            let step = standards().step_of(code, seconds).unwrap();
            assert_eq!(step.get(), seconds / 30);
        }
    }

    #[test]
    fn a_code_is_good_for_a_step_before_and_after_its_own() {
        let secret = TotpSecret::generate().unwrap();
        let code = secret.code_at(1_200_000_000);
        let step = |seconds| secret.step_of(&code, seconds).map(TimeStep::get);
        for seconds in [1_199_999_970, 1_199_999_999, 1_200_000_000, 1_200_000_059] {
            assert_eq!(step(seconds), Some(40_000_000), "{seconds}");
        }
        for seconds in [1_199_999_969, 1_200_000_060] {
            assert_ne!(step(seconds), Some(40_000_000), "{seconds}");
        }
        for wrong in ["", "28708", "2870820", "28708x", "٢٨٧٠٨٢", " 287082"] {
            assert_eq!(standards().step_of(wrong, 59), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_written_and_read_and_does_not_print() {
        let secret = TotpSecret::generate().unwrap();
        let text = secret.text();
        assert_eq!(text.expose_secret().len(), 32);
        let read = TotpSecret::parse(&text).unwrap();
        assert_eq!(read.0, secret.0);
        assert_eq!(format!("{secret:?}"), "TotpSecret(…)");
        assert!(TotpSecret::parse(&SecretString::from("MZXW6")).is_err());
        let uri = standards().uri("ai.example.com", "Ann & Bob@example.com");
        assert_eq!(
            uri.expose_secret(),
            "otpauth://totp/ai%2Eexample%2Ecom:Ann%20%26%20Bob%40example%2Ecom?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
            &issuer=ai%2Eexample%2Ecom&algorithm=SHA1&digits=6&period=30"
        );
    }
}
