//! Tags (RFC 9110, 8.8.3) by which a change says what its author has seen.

use std::fmt::Write as _;

use airouter_auth::sha256;
use airouter_store::Seen;
use axum::Json;
use http::HeaderMap;
use http::header::{ETAG, HeaderName, HeaderValue, IF_MATCH};
use serde_json::Value;

use crate::problem::Problem;

/// Bytes of a tag: enough that two states never share one.
const TAG_BYTES: usize = 16;
/// Whatever there is.
const ANY: &str = "*";

/// JSON with a tag.
pub(crate) type Tagged<T> = Result<([(HeaderName, HeaderValue); 1], Json<T>), Problem>;

/// The tag of a text that says all that may be changed.
pub(crate) fn tag(text: &str) -> Result<HeaderValue, Problem> {
    let mut tag = String::from("\"");
    for byte in sha256(text.as_bytes()).iter().take(TAG_BYTES) {
        // Writing to a string can't fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).map_err(|_| Problem::Internal)
}

/// An answer with the tag of what was described so.
pub(crate) fn tagged<T>(described: &Value, shown: T) -> Tagged<T> {
    Ok(([(ETAG, tag(&described.to_string())?)], Json(shown)))
}

/// What the caller has seen, as it must say where there is something.
pub(crate) fn seen(headers: &HeaderMap, now: Option<Value>) -> Result<Seen, Problem> {
    match (now, headers.get(IF_MATCH)) {
        (None, None) => Ok(Seen::Nothing),
        (None, Some(_)) => Err(Problem::ChangedMeanwhile),
        (Some(_), None) => Err(Problem::IfMatchMissing),
        (Some(now), Some(seen)) if *seen == ANY || *seen == tag(&now.to_string())? => {
            Ok(Seen::This(now))
        }
        (Some(_), Some(_)) => Err(Problem::ChangedMeanwhile),
    }
}

/// Whether the caller has seen the state that a text says, as it must.
pub(crate) fn check_seen(headers: &HeaderMap, state: &str) -> Result<(), Problem> {
    let seen = headers.get(IF_MATCH).ok_or(Problem::IfMatchMissing)?;
    if *seen == tag(state)? {
        Ok(())
    } else {
        Err(Problem::ChangedMeanwhile)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(seen: Option<&HeaderValue>) -> HeaderMap {
        seen.map(|seen| (IF_MATCH, seen.clone()))
            .into_iter()
            .collect()
    }

    #[test]
    fn who_has_not_seen_it_does_not_change_it() {
        let now = json!({"a": 1});
        let tag = tag(&now.to_string()).unwrap();
        let this = seen(&headers(Some(&tag)), Some(now.clone())).unwrap();
        assert_eq!(this, Seen::This(now.clone()));
        let any = HeaderValue::from_static(ANY);
        assert_eq!(seen(&headers(Some(&any)), Some(now.clone())).unwrap(), this);
        assert_eq!(seen(&headers(None), None).unwrap(), Seen::Nothing);
        let other = seen(&headers(Some(&tag)), Some(json!({"a": 2})));
        assert!(matches!(other, Err(Problem::ChangedMeanwhile)));
        let gone = seen(&headers(Some(&tag)), None);
        assert!(matches!(gone, Err(Problem::ChangedMeanwhile)));
        let unsaid = seen(&headers(None), Some(now));
        assert!(matches!(unsaid, Err(Problem::IfMatchMissing)));
    }
}
