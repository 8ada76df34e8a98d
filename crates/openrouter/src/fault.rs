//! Whose fault an upstream's error is, which decides what happens next.

use std::time::Duration;

use crate::error_body::{Content, Origin, UpstreamError};

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The master account's key is unknown, disabled, or of the wrong kind.
    BadKey,
    /// The master account can't pay.
    NoCredit,
    /// The key's own spending limit is reached.
    KeyLimited,
    /// The upstream limits the master account's rate.
    AccountRateLimited {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The master account isn't permitted to do this, for a reason that may lie in the request as well.
    NotPermitted,
    /// A provider, or nobody knows who, limits the rate.
    ProviderRateLimited {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The provider or the upstream failed.
    ProviderFailed,
    /// A compatible server, behind which there is no provider, failed.
    ServerFailed,
    /// A compatible server does not have the model.
    ModelNotServed,
    /// The provider or the upstream took too long.
    Timeout,
    /// The client's own: another account would answer the same.
    Request,
}

impl Fault {
    /// Whether it is certain that the master account (or its key) is at fault, so that it should be put aside.
    pub const fn marks_account(self) -> bool {
        matches!(
            self,
            Self::BadKey | Self::NoCredit | Self::KeyLimited | Self::AccountRateLimited { .. }
        )
    }

    /// Whether trying elsewhere may help, as long as the client has seen no byte.
    pub const fn may_succeed_elsewhere(self) -> bool {
        !matches!(self, Self::Request)
    }
}

impl UpstreamError {
    /// Whose fault this error is. What a provider says (429, 5xx, its own 401 or 402) is never held against the account.
    pub fn fault(&self) -> Fault {
        let by_provider = self.origin == Origin::Provider;
        let retry_after = self.retry_after;
        match self.status {
            401 | 402 if by_provider => Fault::ProviderFailed,
            401 => Fault::BadKey,
            402 => Fault::NoCredit,
            403 => self.fault_of_forbidden(),
            408 | 504 | 524 => Fault::Timeout,
            429 if self.origin == Origin::Platform => Fault::AccountRateLimited { retry_after },
            429 => Fault::ProviderRateLimited { retry_after },
            // An AI Router's: asking again would go in the same circle.
            400..500 | 508 => Fault::Request,
            _ => Fault::ProviderFailed,
        }
    }

    /// 403 has many meanings, some of which only the text tells: a reached limit of a key is documented as 402, but
    /// observed as 403 "Key limit exceeded (… limit)"; a management key is refused with "Only …" or "… management keys …".
    fn fault_of_forbidden(&self) -> Fault {
        let message = self.message.to_ascii_lowercase();
        let content_policy = self.error_type.as_deref() == Some("content_policy_violation");
        if self.content == Content::Blocked || content_policy {
            Fault::Request
        } else if self.origin == Origin::Provider {
            Fault::ProviderFailed
        } else if message.contains("key limit exceeded") {
            Fault::KeyLimited
        } else if let Some("account_disabled" | "address_not_allowed") = self.error_type.as_deref()
        {
            // An AI Router's.
            Fault::BadKey
        } else if message.contains("management key") || message.contains("provisioning key") {
            Fault::BadKey
        } else {
            Fault::NotPermitted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn fault(status: u16, body: &str) -> Fault {
        UpstreamError::parse(status, &HeaderMap::new(), body.as_bytes()).fault()
    }

    #[test]
    fn what_is_certainly_the_accounts_marks_it() {
        let limited = r#"{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-day",
            "metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0"},"provider_name":null}}}"#;
        for (status, body, expected) in [
            (
                401,
                r#"{"error":{"code":401,"message":"User not found."}}"#,
                Fault::BadKey,
            ),
            (
                402,
                r#"{"error":{"code":402,"message":"Insufficient credits","metadata":{"limit_source":"openrouter_credits"}}}"#,
                Fault::NoCredit,
            ),
            (402, "", Fault::NoCredit),
            (
                403,
                r#"{"error":{"code":403,"message":"Key limit exceeded (daily limit)"}}"#,
                Fault::KeyLimited,
            ),
            (
                403,
                r#"{"error":{"message":"Management keys cannot be used: this is a management key"}}"#,
                Fault::BadKey,
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"This account is disabled.","metadata":{"error_type":"account_disabled"}}}"#,
                Fault::BadKey,
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"…","metadata":{"error_type":"address_not_allowed"}}}"#,
                Fault::BadKey,
            ),
            (
                429,
                r#"{"error":{"code":429,"message":"…","metadata":{"error_type":"request_budget_spent"}}}"#,
                Fault::AccountRateLimited { retry_after: None },
            ),
            (
                429,
                limited,
                Fault::AccountRateLimited { retry_after: None },
            ),
        ] {
            let fault = fault(status, body);
            assert_eq!(fault, expected, "{status} {body}");
            assert!(fault.marks_account() && fault.may_succeed_elsewhere());
        }
    }

    #[test]
    fn what_may_be_a_providers_marks_no_account() {
        let from_provider = |status: u16| {
            format!(
                r#"{{"error":{{"code":{status},"message":"Provider returned error","metadata":{{"raw":"x","provider_name":"Groq"}}}}}}"#
            )
        };
        let shared_pool =
            r#"{"error":{"code":429,"metadata":{"limit_source":"upstream_provider_shared_pool"}}}"#;
        for (status, body, expected) in [
            (
                429,
                from_provider(429),
                Fault::ProviderRateLimited { retry_after: None },
            ),
            (
                429,
                shared_pool.to_owned(),
                Fault::ProviderRateLimited { retry_after: None },
            ),
            (
                429,
                "error code: 1015".to_owned(),
                Fault::ProviderRateLimited { retry_after: None },
            ),
            (401, from_provider(401), Fault::ProviderFailed),
            (402, from_provider(402), Fault::ProviderFailed),
            (403, from_provider(403), Fault::ProviderFailed),
            (403, "<html>Blocked</html>".to_owned(), Fault::NotPermitted),
            (500, String::new(), Fault::ProviderFailed),
            (502, from_provider(502), Fault::ProviderFailed),
            (503, String::new(), Fault::ProviderFailed),
            (529, String::new(), Fault::ProviderFailed),
            (301, String::new(), Fault::ProviderFailed),
            (408, String::new(), Fault::Timeout),
            (504, String::new(), Fault::Timeout),
            (524, String::new(), Fault::Timeout),
        ] {
            let fault = fault(status, &body);
            assert_eq!(fault, expected, "{status} {body}");
            assert!(!fault.marks_account() && fault.may_succeed_elsewhere());
        }
    }

    #[test]
    fn what_is_the_clients_is_not_tried_elsewhere() {
        for status in [400, 404, 405, 409, 412, 413, 422, 508] {
            assert_eq!(fault(status, ""), Fault::Request, "{status}");
        }
        for body in [
            r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["violence"],"flagged_input":"…","provider_name":"OpenAI"}}}"#,
            r#"{"error":{"code":403,"message":"guardrail","metadata":{"patterns":["email"]}}}"#,
            r#"{"error":{"code":403,"message":"no","metadata":{"error_type":"content_policy_violation"}}}"#,
        ] {
            assert_eq!(fault(403, body), Fault::Request, "{body}");
        }
        assert!(!Fault::Request.marks_account() && !Fault::Request.may_succeed_elsewhere());
    }

    #[test]
    fn only_the_platforms_own_rate_limits_have_headers() {
        let headers: HeaderMap = [("x-ratelimit-limit", "20"), ("retry-after", "9")]
            .into_iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let retry_after = Some(Duration::from_secs(9));
        let of = |body: &str| UpstreamError::parse(429, &headers, body.as_bytes()).fault();
        let of_router = HeaderMap::from_iter([(
            HeaderName::from_static("x-ratelimit-limit-tokens"),
            HeaderValue::from_static("20"),
        )]);
        let limited = UpstreamError::parse(429, &of_router, b"{}").fault();
        assert!(matches!(limited, Fault::AccountRateLimited { .. }));
        assert_eq!(
            of(r#"{"error":{"code":429}}"#),
            Fault::AccountRateLimited { retry_after }
        );
        assert_eq!(
            of(r#"{"error":{"metadata":{"provider_name":"Groq"}}}"#),
            Fault::ProviderRateLimited { retry_after }
        );
    }

    #[test]
    fn an_error_inside_a_success_is_judged_by_its_code() {
        let body = r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"provider_name":"Kluster"}}}"#;
        let error = UpstreamError::inside_success(body.as_bytes()).unwrap();
        assert_eq!(
            error.fault(),
            Fault::ProviderRateLimited { retry_after: None }
        );
    }
}
