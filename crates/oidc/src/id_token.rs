//! ID tokens: what makes one valid (OpenID Connect Core 1.0 §3.1.3.7).

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

/// A provider's clock may differ by so many seconds.
const LEEWAY: i64 = 60;
/// Longer texts are no ID tokens.
const LONGEST: usize = 16 << 10;
/// A subject is no longer (§2).
const LONGEST_SUBJECT: usize = 255;
/// What may have signed one: never `none`, and no secret that the client knows too.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
    /// Seconds since the epoch.
    pub(crate) now: i64,
}

/// What a provider says of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    pub(crate) email: Option<String>,
    /// A bool, or its name: some providers send a text.
    pub(crate) email_verified: Option<Value>,
    pub(crate) name: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    aud: Value,
    azp: Option<String>,
    #[serde(flatten)]
    claims: Claims,
}

/// Why a token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdTokenError {
    /// None of these keys signed it; there may be newer ones.
    #[error("the ID token was signed with a key that is not known")]
    UnknownKey,
    /// This is wrong with it.
    #[error("{0}")]
    Invalid(&'static str),
}

/// What a token says, if one of these keys signed it, and it is what was asked for.
pub(crate) fn verify(
    token: &str,
    keys: &JwkSet,
    expected: Expected<'_>,
) -> Result<Claims, IdTokenError> {
    let token = signed(token, keys, expected)?;
    let Expected { now, nonce, .. } = expected;
    if now >= token.exp.saturating_add(LEEWAY) {
        return Err(IdTokenError::Invalid("the ID token has expired"));
    }
    let from = token.nbf.unwrap_or(token.iat).max(token.iat);
    if from > now.saturating_add(LEEWAY) {
        return Err(IdTokenError::Invalid("the ID token is of the future"));
    }
    if token.nonce.as_deref() != Some(nonce) {
        return Err(IdTokenError::Invalid(
            "the ID token is of another attempt to log in",
        ));
    }
    let is_for_several = matches!(&token.aud, Value::Array(all) if all.len() > 1);
    let is_for_us = match token.azp.as_deref() {
        Some(party) => party == expected.client_id,
        None => !is_for_several,
    };
    if !is_for_us {
        return Err(IdTokenError::Invalid(
            "the ID token was issued to another client",
        ));
    }
    let subject = &token.claims.sub;
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || subject.contains(char::is_control) {
        return Err(IdTokenError::Invalid("the ID token has no valid subject"));
    }
    Ok(token.claims)
}

/// The token, if one of the keys signed it, and it is of the issuer and for the client.
fn signed(token: &str, keys: &JwkSet, expected: Expected<'_>) -> Result<Token, IdTokenError> {
    const UNREADABLE: IdTokenError = IdTokenError::Invalid("the ID token can't be read");
    if token.len() > LONGEST {
        return Err(UNREADABLE);
    }
    let header = decode_header(token).map_err(|_| UNREADABLE)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(IdTokenError::Invalid(
            "the ID token is not signed in a way that proves anything",
        ));
    }
    let key = find(keys, header.kid.as_deref(), header.alg).ok_or(IdTokenError::UnknownKey)?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The caller's clock counts, not the library's.
    validation.validate_exp = false;
    decode(token, &key, &validation)
        .map(|decoded| decoded.claims)
        .map_err(|_| {
            IdTokenError::Invalid(
                "the ID token's signature, issuer or audience is not the right one",
            )
        })
}

/// The key of this name, or the only one that it can be.
fn find(keys: &JwkSet, name: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let is_for_signatures = |key: &&Jwk| {
        let purpose = key.common.public_key_use.as_ref();
        matches!(purpose, None | Some(PublicKeyUse::Signature))
    };
    let mut usable = keys
        .keys
        .iter()
        .filter(is_for_signatures)
        .filter(|key| name.is_none() || key.common.key_id.as_deref() == name)
        .filter_map(|key| DecodingKey::from_jwk(key).ok())
        .filter(|key| key.family().algorithms().contains(&algorithm));
    let key = usable.next()?;
    (name.is_some() || usable.next().is_none()).then_some(key)
}

#[cfg(test)]
mod tests;
