//! The `x-ratelimit-…` headers, as OpenAI has them.

use airouter_limits::{LimitKind, LimitStatus, RateLimited, RateStatus};
use http::{HeaderMap, HeaderName, HeaderValue};

struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

const REQUESTS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-requests"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
    reset: HeaderName::from_static("x-ratelimit-reset-requests"),
};
const TOKENS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
    reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
};

/// Adds what the client has left, where there is a limit.
pub(crate) fn add(status: &RateStatus, headers: &mut HeaderMap) {
    for (names, status) in [(REQUESTS, status.requests), (TOKENS, status.tokens)] {
        if let Some(status) = status {
            add_limit(names, status, headers);
        }
    }
}

/// Adds which limit was met.
pub(crate) fn add_refusal(limited: &RateLimited, headers: &mut HeaderMap) {
    let names = match limited.which {
        LimitKind::Requests => REQUESTS,
        LimitKind::Tokens => TOKENS,
        // OpenAI has no such headers for requests at the same time.
        LimitKind::Concurrency => return,
    };
    let status = LimitStatus {
        limit: limited.limit,
        remaining: limited.remaining,
        reset_after_ms: limited.retry_after_ms.unwrap_or(0),
    };
    add_limit(names, status, headers);
}

fn add_limit(names: Names, status: LimitStatus, headers: &mut HeaderMap) {
    headers.insert(names.limit, HeaderValue::from(status.limit));
    headers.insert(names.remaining, HeaderValue::from(status.remaining));
    if let Ok(reset) = HeaderValue::from_str(&format!("{}ms", status.reset_after_ms)) {
        headers.insert(names.reset, reset);
    }
}
