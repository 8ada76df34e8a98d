//! Reading what a request says: JSON bodies, queries and paths, with problems in our form.

use std::error::Error as _;

use airouter_billing::price_table::LONGEST_TABLE;
use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
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
        let bytes = read(request, MOST_BODY_BYTES).await?;
        // An object's members in an array, without their names, would be read too.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::Malformed("An object is expected.".to_owned()));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::Malformed(error.to_string()))
    }
}

/// The bytes of a JSON body, of at most so many.
async fn read(request: Request, most: usize) -> Result<Bytes, Problem> {
    let headers = request.headers();
    let is_json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json || headers.contains_key(CONTENT_ENCODING) {
        return Err(Problem::NotJson);
    }
    to_bytes(request.into_body(), most).await.map_err(|error| {
        let is_long = error
            .source()
            .is_some_and(|source| source.is::<LengthLimitError>());
        if is_long {
            Problem::BodyTooLarge
        } else {
            Problem::Malformed("The body broke off.".to_owned())
        }
    })
}

/// A price table, not read yet.
pub(crate) struct TableBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for TableBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        read(request, LONGEST_TABLE).await.map(Self)
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

/// A name at the end of a path, percent-encoded there.
pub(crate) struct PathName(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::NotFound("object"))?;
        if name.contains(char::is_control) {
            return Err(Problem::NotFound("object"));
        }
        Ok(Self(name))
    }
}

/// What a path names, and what of it.
pub(crate) struct PathPair<T>(pub(crate) T, pub(crate) Uuid);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathPair<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<(T, Uuid)>::from_request_parts(parts, state)
            .await
            .map(|Path((whole, part))| Self(whole, part))
            .map_err(|_| Problem::NotFound("object"))
    }
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
