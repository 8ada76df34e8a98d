//! Notes to ourselves that a browser keeps for some minutes: signed as access tokens are (JWTs), for an audience of their
//! own, so that neither is ever taken for the other.

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access_token::NotSigned;
use crate::token_keys::TokenKeys;

/// For so long a note holds, in seconds.
pub const NOTE_SECONDS: i64 = 10 * 60;

/// Longer texts are no notes of ours.
const LONGEST: usize = 4_000;
const ALGORITHM: Algorithm = Algorithm::HS256;
const ISSUER: &str = "airouter";
const AUDIENCE: &str = "airouter-note";

#[derive(Serialize, Deserialize)]
struct Claims<T> {
    iss: String,
    aud: String,
    exp: i64,
    note: T,
}

impl TokenKeys {
    /// A note that holds for [`NOTE_SECONDS`] from `now`, in seconds since the epoch.
    pub fn sign_note(&self, note: &impl Serialize, now: i64) -> Result<String, NotSigned> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            exp: now.saturating_add(NOTE_SECONDS),
            note,
        };
        let header = Header {
            kid: Some(self.signing.name.clone()),
            ..Header::new(ALGORITHM)
        };
        encode(&header, &claims, &self.signing.signing).map_err(|_| NotSigned)
    }

    /// A note that one of these keys has signed and that holds at `now`.
    pub fn read_note<T: DeserializeOwned>(&self, text: &str, now: i64) -> Option<T> {
        if text.len() > LONGEST {
            return None;
        }
        let name = decode_header(text).ok()?.kid?;
        let key = self.all().find(|key| key.name == name)?;
        let mut expected = Validation::new(ALGORITHM);
        expected.set_issuer(&[ISSUER]);
        expected.set_audience(&[AUDIENCE]);
        expected.set_required_spec_claims(&["exp", "iss", "aud"]);
        // The caller's clock counts, not the library's.
        expected.validate_exp = false;
        let decoded = decode::<Claims<T>>(text, &key.verifying, &expected).ok()?;
        (now < decoded.claims.exp).then_some(decoded.claims.note)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;
    use crate::AccessClaims;

    const NOW: i64 = 1_800_000_000;

    fn keys(text: &str) -> TokenKeys {
        TokenKeys::parse(&SecretString::from(text)).unwrap()
    }

    #[test]
    fn a_note_holds_for_some_minutes_and_says_what_it_said() {
        let keys = keys("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let note = keys.sign_note(&("a", 1), NOW).unwrap();
        let read = |at: i64| keys.read_note::<(String, i64)>(&note, at);
        assert_eq!(read(NOW + NOTE_SECONDS - 1), Some(("a".to_owned(), 1)));
        assert_eq!(read(NOW + NOTE_SECONDS), None);
        assert_eq!(keys.read_note::<(String, i64)>(&note[1..], NOW), None);
    }

    #[test]
    fn nobody_elses_text_is_a_note() {
        let (ours, others) = (
            keys("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            keys("/wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        );
        let foreign = others.sign_note(&1, NOW).unwrap();
        assert_eq!(ours.read_note::<i64>(&foreign, NOW), None);
        let claims = AccessClaims {
            user: Uuid::from_u128(1),
            session: Uuid::from_u128(2),
        };
        let token = ours.sign(claims, NOW).unwrap();
        assert_eq!(ours.read_note::<i64>(&token, NOW), None);
        let note = ours.sign_note(&1, NOW).unwrap();
        assert!(ours.verify(&note, NOW).is_err());
    }
}
