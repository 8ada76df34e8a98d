use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://id.example.com";
const CLIENT: &str = "airouter";
const NONCE: &str = "a nonce";

/// A key of a provider, and what is published of it.
struct Signer {
    key: EncodingKey,
    keys: JwkSet,
    name: &'static str,
}

impl Signer {
    fn new(name: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EncodingKey::from_ec_der(pkcs8.as_ref());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        public.common.key_id = Some(name.to_owned());
        Self {
            key,
            keys: JwkSet { keys: vec![public] },
            name,
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.name.to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, claims, &self.key).unwrap()
    }

    fn verify(&self, token: &str) -> Result<Claims, IdTokenError> {
        verify(token, &self.keys, expected())
    }
}

fn expected() -> Expected<'static> {
    Expected {
        issuer: ISSUER,
        client_id: CLIENT,
        nonce: NONCE,
        now: NOW,
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "ann", "nonce": NONCE, "iat": NOW - 1, "exp": NOW + 300,
        "email": "ann@example.com", "email_verified": true,
    })
}

fn changed(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[test]
fn a_token_says_who_somebody_is() {
    let signer = Signer::new("a");
    let read = signer.verify(&signer.sign(&claims())).unwrap();
    assert_eq!(read.sub, "ann");
    assert_eq!(read.email.as_deref(), Some("ann@example.com"));
    for also in [
        json!({"aud": [CLIENT]}),
        json!({"aud": [CLIENT, "other"], "azp": CLIENT}),
        json!({"exp": NOW - LEEWAY + 1, "iat": NOW - 3600}),
        json!({"iat": NOW + LEEWAY}),
    ] {
        assert!(
            signer.verify(&signer.sign(&changed(&also))).is_ok(),
            "{also}"
        );
    }
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let signer = Signer::new("a");
    for wrong in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": ["other"]}),
        json!({"aud": [CLIENT, "other"]}),
        json!({"azp": "other"}),
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"exp": NOW - LEEWAY}),
        json!({"exp": null}),
        json!({"iat": NOW + LEEWAY + 1}),
        json!({"nbf": NOW + LEEWAY + 1}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sub": "a".repeat(LONGEST_SUBJECT + 1)}),
        json!({"sub": "a\nb"}),
    ] {
        let verified = signer.verify(&signer.sign(&changed(&wrong)));
        assert!(
            matches!(verified, Err(IdTokenError::Invalid(_))),
            "{wrong}: {verified:?}"
        );
    }
}

#[test]
fn nobody_elses_signature_is_taken() {
    let (signer, other, of_the_same_name) = (Signer::new("a"), Signer::new("b"), Signer::new("a"));
    assert_eq!(
        signer.verify(&other.sign(&claims())),
        Err(IdTokenError::UnknownKey)
    );
    let forged = signer.verify(&of_the_same_name.sign(&claims()));
    assert!(matches!(forged, Err(IdTokenError::Invalid(_))));
    let token = signer.sign(&claims());
    let (head, signature) = token.rsplit_once('.').unwrap();
    assert!(signer.verify(&format!("{head}.")).is_err());
    let (header, _) = head.split_once('.').unwrap();
    let admin = BASE64.encode(changed(&json!({"sub": "admin"})).to_string());
    assert!(
        signer
            .verify(&format!("{header}.{admin}.{signature}"))
            .is_err()
    );
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let signer = Signer::new("a");
    let body = BASE64.encode(claims().to_string());
    for algorithm in ["none", "None", "NONE", ""] {
        let header = BASE64.encode(json!({"alg": algorithm, "kid": "a"}).to_string());
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{body}.{signature}");
            assert!(signer.verify(&token).is_err(), "{algorithm}");
        }
    }
}

#[test]
fn what_is_public_signs_nothing() {
    let signer = Signer::new("a");
    let public = serde_json::to_string(&signer.keys.keys[0]).unwrap();
    let header = Header {
        kid: Some("a".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let key = EncodingKey::from_secret(public.as_bytes());
    let token = encode(&header, &claims(), &key).unwrap();
    assert!(matches!(
        signer.verify(&token),
        Err(IdTokenError::Invalid(_))
    ));
}

#[test]
fn a_token_may_leave_its_key_unnamed_if_there_is_one() {
    let (signer, other) = (Signer::new("a"), Signer::new("b"));
    let token = encode(&Header::new(Algorithm::ES256), &claims(), &signer.key).unwrap();
    assert!(signer.verify(&token).is_ok());
    let mut both = signer.keys.clone();
    both.keys.extend(other.keys.keys.clone());
    assert_eq!(
        verify(&token, &both, expected()),
        Err(IdTokenError::UnknownKey)
    );
}
