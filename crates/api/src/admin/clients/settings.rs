//! What the operator sets of an account, as JSON, and the tag by which a change says what it has seen.

use std::fmt::Write as _;

use airouter_auth::sha256;
use airouter_store::client_admin::ClientSettings;
use http::HeaderMap;
use http::header::{HeaderValue, IF_MATCH};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::values::Usd;

/// Bytes of a tag: enough that two states never share one.
const TAG_BYTES: usize = 16;

/// What the operator set of an account; null is no limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Settings {
    /// The price plan.
    #[schema(example = "default")]
    plan: String,
    /// The tier whose monthly limit holds.
    #[schema(example = "standard")]
    tier: Option<String>,
    /// How far below zero the balance may go.
    credit_line: Usd,
    /// Requests a minute.
    requests_per_minute: Option<u32>,
    /// Tokens a minute, of prompt and answer.
    tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    concurrent_requests: Option<u32>,
}

impl From<&ClientSettings> for Settings {
    fn from(settings: &ClientSettings) -> Self {
        let limits = settings.limits;
        Self {
            plan: settings.plan.clone(),
            tier: settings.tier.clone(),
            credit_line: Usd(settings.credit_line),
            requests_per_minute: limits.requests_per_minute.map(Into::into),
            tokens_per_minute: limits.tokens_per_minute.map(Into::into),
            concurrent_requests: limits.concurrent_requests.map(Into::into),
        }
    }
}

/// The settings as the audit log keeps them.
pub(super) fn json(settings: &ClientSettings) -> Result<String, Problem> {
    serde_json::to_string(&Settings::from(settings)).map_err(|_| Problem::Internal)
}

/// The tag of these settings (RFC 9110, 8.8.3).
pub(super) fn tag(settings: &ClientSettings) -> Result<HeaderValue, Problem> {
    let hash = sha256(json(settings)?.as_bytes());
    let mut tag = String::from("\"");
    for byte in hash.iter().take(TAG_BYTES) {
        // Writing to a string can't fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).map_err(|_| Problem::Internal)
}

/// Whether the caller has seen these settings, as it must say.
pub(super) fn check_seen(headers: &HeaderMap, settings: &ClientSettings) -> Result<(), Problem> {
    let seen = headers.get(IF_MATCH).ok_or(Problem::IfMatchMissing)?;
    if *seen == tag(settings)? {
        Ok(())
    } else {
        Err(Problem::ChangedMeanwhile)
    }
}
