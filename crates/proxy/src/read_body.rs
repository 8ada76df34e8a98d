//! Reads a client's body, bounded in size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::problem::Problem;

/// Most that is set aside for a body on its own word.
const TRUSTED_LENGTH: u64 = 1 << 20;
/// A body must come faster than this, or within the time of one pause.
const LEAST_BYTES_A_SECOND: u64 = 1_024;

/// The whole body. A body that comes in one piece is not copied.
pub(crate) async fn read_body(
    request: Request<Incoming>,
    limit: u64,
    pause: Duration,
) -> Result<Bytes, Problem> {
    let headers = request.headers();
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        return Err(Problem::EncodedBody);
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Problem::BodyTooLarge { limit });
    }
    let whole = pause + Duration::from_secs(length.unwrap_or(limit) / LEAST_BYTES_A_SECOND);
    let expected = length.unwrap_or(0).min(TRUSTED_LENGTH);
    match timeout(whole, collect(request.into_body(), expected, limit, pause)).await {
        Ok(body) => body,
        Err(_) => Err(Problem::BodyTooSlow),
    }
}

async fn collect(
    mut body: Incoming,
    expected: u64,
    limit: u64,
    pause: Duration,
) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let part = match timeout(pause, body.frame()).await {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(_))) => return Err(Problem::BodyBroken),
            Ok(None) => break,
            Err(_) => return Err(Problem::BodyTooSlow),
        };
        if (first.len() + joined.len() + part.len()) as u64 > limit {
            return Err(Problem::BodyTooLarge { limit });
        }
        if first.is_empty() && joined.is_empty() {
            first = part;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(usize::try_from(expected).unwrap_or(0));
        }
        joined.extend_from_slice(&std::mem::take(&mut first));
        joined.extend_from_slice(&part);
    }
    Ok(if joined.is_empty() {
        first
    } else {
        joined.freeze()
    })
}
