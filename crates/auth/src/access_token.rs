//! Access tokens: what a script or a page sends after a login. JWTs (RFC 7519) signed with HMAC-SHA-256; whether the
//! session still goes on, and what its user may do, is not in them.
//!
//! A token's header only says which key to try (`kid`). The algorithm is this one, whatever the header says.

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::token_keys::{TokenKey, TokenKeys};

/// For so long an access token is valid, in seconds.
pub const ACCESS_TOKEN_SECONDS: i64 = 15 * 60;

/// Longer texts are no tokens of ours.
const LONGEST: usize = 1024;
const ALGORITHM: Algorithm = Algorithm::HS256;
const ISSUER: &str = "airouter";
const AUDIENCE: &str = "airouter-api";

/// What an access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// The login.
    pub user: Uuid,
    /// Its session.
    pub session: Uuid,
}

/// Why a text is no valid access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Not a token, signed by somebody else or by another algorithm, or meant for somebody else.
    #[error("the access token is not valid")]
    Invalid,
    /// It was valid.
    #[error("the access token has expired")]
    Expired,
}

/// A token could not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access token can't be signed")]
pub struct NotSigned;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    iat: i64,
    exp: i64,
}

impl TokenKeys {
    /// A token for [`ACCESS_TOKEN_SECONDS`] from `now`, in seconds since the epoch.
    pub fn sign(&self, claims: AccessClaims, now: i64) -> Result<String, NotSigned> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: claims.user,
            sid: claims.session,
            iat: now,
            exp: now.saturating_add(ACCESS_TOKEN_SECONDS),
        };
        signed(&self.signing, &claims).ok_or(NotSigned)
    }

    /// What a token says that is valid at `now`, in seconds since the epoch.
    pub fn verify(&self, token: &str, now: i64) -> Result<AccessClaims, AccessTokenError> {
        let claims = self.claims(token).ok_or(AccessTokenError::Invalid)?;
        if now >= claims.exp {
            return Err(AccessTokenError::Expired);
        }
        Ok(AccessClaims {
            user: claims.sub,
            session: claims.sid,
        })
    }

    /// What a token says that one of these keys has signed, for us, at whatever time.
    fn claims(&self, token: &str) -> Option<Claims> {
        if token.len() > LONGEST {
            return None;
        }
        let name = decode_header(token).ok()?.kid?;
        let key = self.all().find(|key| key.name == name)?;
        let mut expected = Validation::new(ALGORITHM);
        expected.set_issuer(&[ISSUER]);
        expected.set_audience(&[AUDIENCE]);
        expected.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The caller's clock counts, not the library's.
        expected.validate_exp = false;
        let decoded = decode(token, &key.verifying, &expected).ok()?;
        Some(decoded.claims)
    }
}

fn signed(key: &TokenKey, claims: &impl Serialize) -> Option<String> {
    let header = Header {
        kid: Some(key.name.clone()),
        ..Header::new(ALGORITHM)
    };
    encode(&header, claims, &key.signing).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use proptest::prelude::*;
    use secrecy::SecretString;
    use serde_json::{Value, json};

    const NOW: i64 = 1_800_000_000;
    const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const SECOND: &str = "/wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn keys(text: &str) -> TokenKeys {
        TokenKeys::parse(&SecretString::from(text)).unwrap()
    }

    fn claims() -> AccessClaims {
        AccessClaims {
            user: Uuid::from_u128(1),
            session: Uuid::from_u128(2),
        }
    }

    #[test]
    fn a_token_is_valid_for_a_quarter_of_an_hour() {
        let keys = keys(FIRST);
        let token = keys.sign(claims(), NOW).unwrap();
        assert_eq!(keys.verify(&token, NOW), Ok(claims()));
        assert_eq!(keys.verify(&token, NOW + 899), Ok(claims()));
        assert_eq!(
            keys.verify(&token, NOW + 900),
            Err(AccessTokenError::Expired)
        );
    }

    #[test]
    fn it_is_a_jwt_with_the_name_of_its_key() {
        let keys = keys(FIRST);
        let token = keys.sign(claims(), NOW).unwrap();
        let part = |index| -> Value {
            let part: &str = token.split('.').nth(index).unwrap();
            serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap()
        };
        assert_eq!(
            part(0),
            json!({"alg": "HS256", "typ": "JWT", "kid": keys.signing.name})
        );
        assert_eq!(
            part(1),
            json!({
                "iss": "airouter", "aud": "airouter-api", "sub": claims().user, "sid": claims().session,
                "iat": NOW, "exp": NOW + 900,
            })
        );
    }

    #[test]
    fn a_rotation_leaves_tokens_valid_until_the_old_key_goes() {
        let token = keys(FIRST).sign(claims(), NOW).unwrap();
        let rotated = keys(&format!("{SECOND},{FIRST}"));
        assert_eq!(rotated.verify(&token, NOW), Ok(claims()));
        let new = rotated.sign(claims(), NOW).unwrap();
        assert_eq!(keys(SECOND).verify(&new, NOW), Ok(claims()));
        let gone = keys(SECOND).verify(&token, NOW);
        assert_eq!(gone, Err(AccessTokenError::Invalid));
    }

    #[test]
    fn claims_that_are_not_ours_are_not_believed() {
        let keys = keys(FIRST);
        let good = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": claims().user, "sid": claims().session, "iat": NOW, "exp": NOW + 60,
        });
        let verify = |claims: &Value| keys.verify(&signed(&keys.signing, claims).unwrap(), NOW);
        assert_eq!(verify(&good), Ok(claims()));
        for (name, value) in [
            ("iss", json!("somebody")),
            ("aud", json!("another-service")),
            ("sub", json!("nobody")),
            ("sid", Value::Null),
            ("exp", Value::Null),
            ("role", json!("admin")),
        ] {
            let mut claims = good.clone();
            claims[name] = value;
            assert_eq!(verify(&claims), Err(AccessTokenError::Invalid), "{name}");
        }
    }

    #[test]
    fn an_unsigned_or_changed_token_is_not_valid() {
        let keys = keys(FIRST);
        let token = keys.sign(claims(), NOW).unwrap();
        let (content, signature) = token.rsplit_once('.').unwrap();
        let (header, body) = content.split_once('.').unwrap();
        let name = &keys.signing.name;
        let none = BASE64.encode(format!(r#"{{"alg":"none","kid":"{name}","typ":"JWT"}}"#));
        let other = BASE64.encode(format!(r#"{{"alg":"HS512","kid":"{name}","typ":"JWT"}}"#));
        let by_other = other_algorithm(&keys.signing);
        let lying = BASE64.encode(r#"{"iss":"airouter"}"#);
        let too_long = format!("{token}{}", "a".repeat(LONGEST));
        let mut another = TokenKeys::parse(&SecretString::from(SECOND)).unwrap();
        another.signing.name.clone_from(name);
        let others = another.sign(claims(), NOW).unwrap();
        let nameless = encode(
            &Header::new(ALGORITHM),
            &json!({"iss": ISSUER, "aud": AUDIENCE, "sub": claims().user, "sid": claims().session, "iat": NOW, "exp": NOW + 60}),
            &keys.signing.signing,
        );
        for wrong in [
            "",
            "..",
            "a.b.c",
            content,
            &format!("{content}."),
            &format!("{none}.{body}."),
            &format!("{none}.{body}.{signature}"),
            &format!("{other}.{body}.{signature}"),
            &by_other,
            &format!("{header}.{lying}.{signature}"),
            &others,
            &nameless.unwrap(),
            &too_long,
        ] {
            assert_eq!(
                keys.verify(wrong, NOW),
                Err(AccessTokenError::Invalid),
                "{wrong}"
            );
        }
    }

    /// Signed with the right key, by another algorithm of its family.
    fn other_algorithm(key: &TokenKey) -> String {
        let header = Header {
            kid: Some(key.name.clone()),
            ..Header::new(Algorithm::HS512)
        };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: claims().user,
            sid: claims().session,
            iat: NOW,
            exp: NOW + 60,
        };
        encode(&header, &claims, &key.signing).unwrap()
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_found(at in 0_usize..300, character in "[0-9A-Za-z_.-]") {
            let keys = keys(FIRST);
            let mut token = keys.sign(claims(), NOW).unwrap();
            let at = at % token.len();
            prop_assume!(token[at..=at] != character);
            token.replace_range(at..=at, &character);
            prop_assert_eq!(keys.verify(&token, NOW), Err(AccessTokenError::Invalid));
        }

        #[test]
        fn no_text_panics(token in "\\PC{0,80}") {
            prop_assert!(keys(FIRST).verify(&token, NOW).is_err());
        }
    }
}
