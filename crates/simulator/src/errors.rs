//! Errors in OpenRouter's shape, with the account's own data in them, so that a proxy that leaks them is found out.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{body::SimulatedBody, speaks::Speaks};

/// The account's id, which stands in real errors and must never reach a proxy's clients.
pub(crate) const USER_ID: &str = "user_2SimulatedReseller";

/// An error answer of the upstream's API.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    message: String,
    metadata: Value,
    headers: Vec<(HeaderName, HeaderValue)>,
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>, error_type: &str) -> Self {
        Self {
            status,
            message: message.into(),
            metadata: json!({ "error_type": error_type }),
            headers: Vec::new(),
        }
    }

    fn of_provider(status: StatusCode, provider: &str, error_type: &str, raw: &str) -> Self {
        let mut error = Self::new(status, "Provider returned error", error_type);
        error.metadata = json!({
            "error_type": error_type,
            "provider_name": provider,
            "raw": raw,
        });
        error
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, "invalid_request")
    }

    pub(crate) fn context_too_long(limit: u64, prompt: u64) -> Self {
        let message = format!(
            "This endpoint's maximum context length is {limit} tokens. However, you requested about {prompt} tokens."
        );
        Self::new(StatusCode::BAD_REQUEST, message, "context_length_exceeded")
    }

    pub(crate) fn no_credentials() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "No auth credentials found",
            "authentication",
        )
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "User not found.",
            "authentication",
        )
    }

    pub(crate) fn no_credit() -> Self {
        Self::new(
            StatusCode::PAYMENT_REQUIRED,
            "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
            "payment_required",
        )
    }

    pub(crate) fn cannot_afford(requested: u64, affordable: u64) -> Self {
        let message = format!(
            "This request requires more credits, or fewer max_tokens. You requested up to {requested} tokens, but can \
             only afford {affordable}. To increase, visit https://openrouter.ai/settings/credits and add more credits"
        );
        Self::new(StatusCode::PAYMENT_REQUIRED, message, "payment_required")
    }

    pub(crate) fn key_limit() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
            "permission_denied",
        )
    }

    pub(crate) fn wrong_kind_of_key() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Only management keys can perform this operation",
            "permission_denied",
        )
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message, "not_found")
    }

    pub(crate) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request entity too large",
            "payload_too_large",
        )
    }

    pub(crate) fn unknown_field(name: &str) -> Self {
        Self::bad_request(format!("Unrecognized request argument supplied: {name}"))
    }

    pub(crate) fn timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "Request timed out",
            "invalid_request",
        )
    }

    pub(crate) fn rate_limited() -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Rate limit exceeded: limit_rpm/simulated-account",
            "rate_limit_exceeded",
        );
        error.headers = vec![
            (header::RETRY_AFTER, HeaderValue::from_static("2")),
            (RATE_LIMIT, HeaderValue::from_static("20")),
            (RATE_LIMIT_REMAINING, HeaderValue::from_static("0")),
            (RATE_LIMIT_RESET, HeaderValue::from_static("1795000000000")),
        ];
        error
    }

    pub(crate) fn provider_rate_limited(provider: &str) -> Self {
        let mut error = Self::of_provider(
            StatusCode::TOO_MANY_REQUESTS,
            provider,
            "rate_limit_exceeded",
            "the model is temporarily rate-limited upstream. Please retry shortly.",
        );
        error.headers = vec![(header::RETRY_AFTER, HeaderValue::from_static("1"))];
        error
    }

    pub(crate) fn server() -> Self {
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Server Error",
            "server",
        );
        error.metadata = Value::Null;
        error
    }

    pub(crate) fn provider_down(provider: &str) -> Self {
        Self::of_provider(
            StatusCode::BAD_GATEWAY,
            provider,
            "provider_unavailable",
            "{\"error\":\"connection refused by 10.0.0.7\"}",
        )
    }

    pub(crate) fn overloaded(provider: &str) -> Self {
        let mut error = Self::of_provider(
            StatusCode::SERVICE_UNAVAILABLE,
            provider,
            "provider_overloaded",
            "overloaded",
        );
        error.headers = vec![(header::RETRY_AFTER, HeaderValue::from_static("1"))];
        error
    }

    /// The value of `error` as it stands in bodies and events.
    pub(crate) fn inner(&self, speaks: Speaks) -> Value {
        if speaks == Speaks::Compatible {
            let (_, kind, code) = self.in_openais_words();
            return json!({ "message": self.message, "type": kind, "param": null, "code": code });
        }
        let mut inner = json!({ "message": self.message, "code": self.status.as_u16() });
        if !self.metadata.is_null()
            && let Some(fields) = inner.as_object_mut()
        {
            fields.insert("metadata".to_owned(), self.metadata.clone());
        }
        inner
    }

    /// Status, type and code by which OpenAI's API tells it.
    fn in_openais_words(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        let invalid = "invalid_request_error";
        match self.status {
            StatusCode::UNAUTHORIZED => (self.status, invalid, Some("invalid_api_key")),
            StatusCode::PAYMENT_REQUIRED => {
                let quota = "insufficient_quota";
                (StatusCode::TOO_MANY_REQUESTS, quota, Some(quota))
            }
            StatusCode::FORBIDDEN => (self.status, invalid, None),
            StatusCode::NOT_FOUND => (self.status, invalid, Some("model_not_found")),
            StatusCode::TOO_MANY_REQUESTS => (self.status, "requests", Some("rate_limit_exceeded")),
            status if status.is_client_error() => (status, invalid, None),
            status => (status, "server_error", None),
        }
    }

    /// The whole error body.
    fn body(&self, speaks: Speaks) -> String {
        let inner = self.inner(speaks);
        match speaks {
            Speaks::OpenRouter => json!({ "error": inner, "user_id": USER_ID }),
            Speaks::Compatible => json!({ "error": inner }),
        }
        .to_string()
    }

    /// The answer with its status and headers.
    pub(crate) fn response(&self, speaks: Speaks) -> Response<SimulatedBody> {
        let mut response = Response::new(SimulatedBody::whole(self.body(speaks)));
        *response.status_mut() = match speaks {
            Speaks::OpenRouter => self.status,
            Speaks::Compatible => self.in_openais_words().0,
        };
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        response
    }
}
