//! `GET /credits` and `GET /key`: what an upstream account and its keys have left.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ControlError;
use crate::json;
use crate::number::NumberText;

/// The credit of a master account, in USD. What is left is the difference.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Credits {
    /// What was ever bought.
    pub total_credits: NumberText,
    /// What was ever used.
    pub total_usage: NumberText,
}

/// What the upstream says of a key itself. Money is in USD.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KeyStatus {
    /// The key, masked.
    #[serde(deserialize_with = "json::or_default")]
    pub label: Option<String>,
    /// The spending limit of a window; none if absent.
    pub limit: Option<NumberText>,
    /// What is left of it in this window.
    pub limit_remaining: Option<NumberText>,
    /// `daily`, `weekly` or `monthly`; never reset if absent.
    #[serde(deserialize_with = "json::or_default")]
    pub limit_reset: Option<String>,
    /// What the key ever used, not only in this window.
    pub usage: Option<NumberText>,
    /// Used today (UTC).
    pub usage_daily: Option<NumberText>,
    /// Used since Monday (UTC).
    pub usage_weekly: Option<NumberText>,
    /// Used since the 1st (UTC).
    pub usage_monthly: Option<NumberText>,
    /// What providers ever took for inference on the account's own keys there.
    pub byok_usage: Option<NumberText>,
    /// Whether the account never bought credit.
    #[serde(deserialize_with = "json::or_default")]
    pub is_free_tier: Option<bool>,
    /// Whether it is a management key, which can't be used for inference.
    #[serde(deserialize_with = "json::or_default")]
    pub is_management_key: Option<bool>,
    /// When the key expires, RFC 3339; never if absent.
    #[serde(deserialize_with = "json::or_default")]
    pub expires_at: Option<String>,
}

/// Every record comes in this envelope.
#[derive(Deserialize)]
struct Envelope {
    data: Box<RawValue>,
}

/// Reads a record; `what` names it in the error.
pub(crate) fn parse_record<T: for<'de> Deserialize<'de>>(
    body: &[u8],
    what: &'static str,
) -> Result<T, ControlError> {
    json::from_object(body)
        .and_then(|Envelope { data }| json::from_object(data.get().as_bytes()))
        .map_err(|_| ControlError::Malformed { what })
}

/// Reads the body of `GET /key`.
pub fn parse_key(body: &[u8]) -> Result<KeyStatus, ControlError> {
    parse_record(body, "a key")
}
