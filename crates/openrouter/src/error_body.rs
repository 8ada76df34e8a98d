//! What an upstream says when it refuses or fails a request: an error answer, or an error inside a 200.
//!
//! Both the documented and the observed shapes are read (OpenRouter's documentation, "Errors"); whatever can't be read is
//! as good as missing. The upstream's account id (`user_id`) is never read.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::json;
use crate::retry_after::{bounded, retry_after};

/// An error answer is read up to this size; a longer one counts as unreadable.
pub const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// Longer texts are cut.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// With these the platform tells of its own limits: OpenRouter, and an AI Router.
const LIMIT_HEADERS: [&str; 3] = [
    "x-ratelimit-limit",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
];
/// Kinds of errors by which an AI Router says that its client has used something up.
const USED_UP: [&str; 2] = ["request_budget_spent", "free_models_limited"];

/// An upstream's error. Its texts speak to the operator: they may tell about the operator's account, and only those of
/// a [`crate::Fault::Request`] are for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamError {
    /// The HTTP status; for an error inside a 200 the status that it would have had.
    pub status: u16,
    /// `error.code`, whatever its JSON type.
    pub code: Option<String>,
    /// `error.message`, at most 4 KiB; empty if there is none.
    pub message: String,
    /// The canonical kind of error, like `context_length_exceeded`.
    pub error_type: Option<String>,
    /// The provider that it came from.
    pub provider_name: Option<String>,
    /// What the provider itself said, at most 4 KiB.
    pub provider_message: Option<String>,
    /// How long the upstream asks to wait, at most a day.
    pub retry_after: Option<Duration>,
    /// `error.type`, as OpenAI's API has it.
    pub(crate) kind: Option<String>,
    pub(crate) origin: Origin,
    pub(crate) content: Content,
}

/// Who raised an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Provider,
    /// The upstream itself, about the operator's account.
    Platform,
    Unknown,
}

/// Whether moderation or a guardrail refused what the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Blocked,
    NotBlocked,
}

impl UpstreamError {
    /// Reads an error answer. `status` is its HTTP status; the body may be anything.
    pub fn parse(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Value = match body.len() {
            0..=MAX_ERROR_BODY_BYTES => serde_json::from_slice(body).unwrap_or_default(),
            _ => Value::Null,
        };
        let error = body
            .get("error")
            .filter(|error| is_truthy(error))
            .unwrap_or(&body);
        let mut parsed = Self::of(status, error);
        let has_limits = LIMIT_HEADERS.iter().any(|name| headers.contains_key(*name));
        if parsed.origin == Origin::Unknown && has_limits {
            parsed.origin = Origin::Platform;
        }
        parsed.retry_after = retry_after(headers).or(parsed.retry_after);
        parsed
    }

    /// Looks for an error in the body or in an event of an answer with status 200: at the top, or in a choice. The
    /// caller bounds the size.
    pub fn inside_success(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Success {
            #[serde(default, deserialize_with = "json::or_default")]
            error: Value,
            #[serde(default, deserialize_with = "json::or_default")]
            choices: Vec<Choice>,
        }
        #[derive(Deserialize)]
        struct Choice {
            #[serde(default, deserialize_with = "json::or_default")]
            error: Value,
        }
        let success: Success = json::from_object(body).ok()?;
        let in_choices = success.choices.into_iter().map(|choice| choice.error);
        let error = std::iter::once(success.error)
            .chain(in_choices)
            .find(is_truthy)?;
        Some(Self::of(200, &error))
    }

    fn of(http_status: u16, error: &Value) -> Self {
        let metadata = &error["metadata"];
        let code = text(&error["code"]);
        let error_type = text(&metadata["error_type"]).or_else(|| text(&error["error_type"]));
        let status = match http_status {
            400.. => http_status,
            _ => status_inside_success(error, code.as_deref(), error_type.as_deref()),
        };
        Self {
            status,
            code,
            message: text(&error["message"])
                .or_else(|| text(error))
                .unwrap_or_default(),
            error_type,
            provider_name: text(&metadata["provider_name"]),
            provider_message: text(&metadata["raw"]),
            retry_after: error["availability"]["retry_after"].as_u64().map(bounded),
            kind: text(&error["type"]),
            origin: origin(metadata),
            content: content(metadata),
        }
    }
}

/// The truthiness by which the SDKs look at `error`: null, false, zero, "" and {} are no errors.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(boolean) => *boolean,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) => true,
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A text or a number as text, cut to a bearable length.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => {
            Some(text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned())
        }
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn status_inside_success(error: &Value, code: Option<&str>, error_type: Option<&str>) -> u16 {
    let number = |value: &Value| {
        text(value)?
            .parse()
            .ok()
            .filter(|status| (400..600).contains(status))
    };
    number(&error["code"])
        .or_else(|| number(&error["http_status"]))
        .or_else(|| error_type.and_then(status_of_type))
        .or_else(|| code.and_then(status_of_type))
        .unwrap_or(502)
}

/// The HTTP status that goes with a kind of error. Source: OpenRouter's documentation, "Errors".
fn status_of_type(error_type: &str) -> Option<u16> {
    Some(match error_type {
        "invalid_request"
        | "invalid_prompt"
        | "context_length_exceeded"
        | "max_tokens_exceeded"
        | "token_limit_exceeded"
        | "string_too_long"
        | "content_policy_violation"
        | "refusal" => 400,
        "authentication" => 401,
        "payment_required" => 402,
        "permission_denied" => 403,
        "not_found" | "image_not_found" => 404,
        "precondition_failed" => 412,
        "payload_too_large" => 413,
        "unprocessable" => 422,
        "rate_limit_exceeded" => 429,
        "server" | "server_error" | "unmapped" => 500,
        "provider_unavailable" => 502,
        "provider_overloaded" => 503,
        "timeout" => 504,
        _ => return None,
    })
}

/// `limit_source` names who limited (observed: `upstream_provider_shared_pool`, `openrouter_credits`); the platform's own
/// rate limits come with `metadata.headers` (observed), a provider's error with its name.
fn origin(metadata: &Value) -> Origin {
    match metadata["limit_source"].as_str() {
        Some(source) if source.starts_with("upstream_provider") => return Origin::Provider,
        Some(source) if source.starts_with("openrouter") => return Origin::Platform,
        _ => {}
    }
    let is_used_up = metadata["error_type"]
        .as_str()
        .is_some_and(|kind| USED_UP.contains(&kind));
    let has_limits = metadata["headers"].as_object().is_some_and(|headers| {
        headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("x-ratelimit-limit"))
    });
    if text(&metadata["provider_name"]).is_some() {
        Origin::Provider
    } else if is_used_up || has_limits {
        Origin::Platform
    } else {
        Origin::Unknown
    }
}

fn content(metadata: &Value) -> Content {
    let blocked = ["reasons", "flagged_input", "patterns"]
        .iter()
        .any(|key| is_truthy(&metadata[*key]));
    if blocked {
        Content::Blocked
    } else {
        Content::NotBlocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(status: u16, body: &str) -> UpstreamError {
        UpstreamError::parse(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn an_error_answer_is_read() {
        let error = parse(
            429,
            r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"slow down","provider_name":"Groq",
                "error_type":"rate_limit_exceeded"},"availability":{"retry_after":3}},"user_id":"user_secret"}"#,
        );
        assert_eq!((error.status, error.code.as_deref()), (429, Some("429")));
        assert_eq!(error.message, "Provider returned error");
        assert_eq!(error.error_type.as_deref(), Some("rate_limit_exceeded"));
        assert_eq!(
            (
                error.provider_name.as_deref(),
                error.provider_message.as_deref()
            ),
            (Some("Groq"), Some("slow down"))
        );
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
        assert!(!format!("{error:?}").contains("user_secret"));
    }

    #[test]
    fn any_body_is_an_error_of_its_status() {
        let long = format!(
            r#"{{"error":{{"message":"{}"}}}}"#,
            "x".repeat(MAX_ERROR_BODY_BYTES)
        );
        for body in [
            "",
            "<html>Bad gateway</html>",
            "null",
            "[]",
            "7",
            r#"{"error":null}"#,
            r#"{"error":[]}"#,
            &long,
        ] {
            assert_eq!(parse(502, body).status, 502, "{body}");
        }
        assert_eq!(parse(400, r#"{"error":"no model"}"#).message, "no model");
        assert_eq!(parse(400, r#"{"message":"no model"}"#).message, "no model");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let error = parse(
            400,
            &format!(r#"{{"error":{{"message":"{}"}}}}"#, "aé".repeat(3_000)),
        );
        assert!(error.message.len() <= MAX_TEXT_BYTES && error.message.len() > MAX_TEXT_BYTES - 4);
        assert!(error.message.starts_with("aéaé"));
    }

    #[test]
    fn an_error_inside_a_success_is_found_and_has_a_status() {
        for (body, status) in [
            (
                r#"  {"error":{"code":503,"message":"overloaded"},"choices":[]}"#,
                503,
            ),
            (
                r#"{"choices":[{"index":0,"finish_reason":"error","error":{"code":429}}]}"#,
                429,
            ),
            (r#"{"error":{"code":"429"}}"#, 429),
            (r#"{"error":{"code":"server_error","message":"x"}}"#, 500),
            (
                r#"{"error":{"error_type":"timeout","http_status":408}}"#,
                408,
            ),
            (
                r#"{"error":{"metadata":{"error_type":"context_length_exceeded"}}}"#,
                400,
            ),
            (r#"{"error":{"code":200}}"#, 502),
            (r#"{"error":"boom","choices":7}"#, 502),
        ] {
            assert_eq!(
                UpstreamError::inside_success(body.as_bytes()).map(|error| error.status),
                Some(status),
                "{body}"
            );
        }
        for body in [
            "",
            "[DONE]",
            r#"{"error":null}"#,
            r#"{"error":{},"choices":[{"error":null},7]}"#,
            r#"{"choices":[]}"#,
        ] {
            assert_eq!(
                UpstreamError::inside_success(body.as_bytes()),
                None,
                "{body}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200), status in 0u16..1_000) {
            let _ = UpstreamError::parse(status, &HeaderMap::new(), &body).fault();
            let _ = UpstreamError::inside_success(&body);
        }
    }
}
