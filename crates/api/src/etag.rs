//! Tags of what may be changed by several at once: who changes it says with `If-Match` what was seen (RFC 9110, 8.8.3 and
//! 13.1.1).

use std::fmt::Write as _;

use airouter_auth::sha256;
use http::HeaderMap;
use http::header::{HeaderValue, IF_MATCH};

use crate::problem::Problem;

/// Bytes of a tag: enough that two states never share one.
const TAG_BYTES: usize = 16;

/// The tag of a state, by what of it can be changed, as JSON.
pub(crate) fn tag(state: &str) -> Result<HeaderValue, Problem> {
    let hash = sha256(state.as_bytes());
    let mut tag = String::from("\"");
    for byte in hash.iter().take(TAG_BYTES) {
        // Writing to a string can't fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).map_err(|_| Problem::Internal)
}

/// Whether the caller has seen this state, as it must say.
pub(crate) fn check_seen(headers: &HeaderMap, state: &str) -> Result<(), Problem> {
    let seen = headers.get(IF_MATCH).ok_or(Problem::IfMatchMissing)?;
    if *seen == tag(state)? {
        Ok(())
    } else {
        Err(Problem::ChangedMeanwhile)
    }
}
