//! What the operator sets of an account, as JSON, and the tag by which a change says what it has seen.

use airouter_store::client_admin::ClientSettings;
use http::HeaderMap;
use http::header::HeaderValue;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::tags;
use crate::values::Usd;

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
    tags::tag(&json(settings)?)
}

/// Whether the caller has seen these settings, as it must say.
pub(super) fn check_seen(headers: &HeaderMap, settings: &ClientSettings) -> Result<(), Problem> {
    tags::check_seen(headers, &json(settings)?)
}
