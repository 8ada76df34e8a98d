//! Reading what a request says: JSON bodies, queries and paths, with problems in our form.

use std::error::Error as _;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::LengthLimitError;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::problem::Problem;

/// The largest body.
pub(crate) const MOST_BODY_BYTES: usize = 64 << 10;

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let headers = request.headers();
        let is_json = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        if !is_json || headers.contains_key(CONTENT_ENCODING) {
            return Err(Problem::NotJson);
        }
        let bytes = to_bytes(request.into_body(), MOST_BODY_BYTES)
            .await
            .map_err(|error| {
                let is_long = error
                    .source()
                    .is_some_and(|source| source.is::<LengthLimitError>());
                if is_long {
                    Problem::BodyTooLarge
                } else {
                    Problem::Malformed("The body broke off.".to_owned())
                }
            })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::Malformed(error.to_string()))
    }
}

/// The query of a request.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|rejection| Problem::Malformed(rejection.body_text()))
    }
}

/// The id at the end of a path; what is none names nothing.
pub(crate) struct PathId(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::<Uuid>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(id)| Self(id))
            .map_err(|_| Problem::NotFound("object"))
    }
}

/// The two ids of a path, the outer one first.
pub(crate) struct PathIds(pub(crate) Uuid, pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::<(Uuid, Uuid)>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path((outer, inner))| Self(outer, inner))
            .map_err(|_| Problem::NotFound("object"))
    }
}

/// Reads a field for which null and not being named are different things: one that is named is something, null too.
pub(crate) fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Reads a text that must not print.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// Reads a text that must not print, or none.
pub(crate) fn optional_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(SecretString::from))
}
