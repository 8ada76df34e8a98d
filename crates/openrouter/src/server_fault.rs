//! Whose fault an error of a compatible server is: one that speaks OpenAI's API, where nobody stands behind the server.
//! Source: OpenAI's documentation, "Error codes".

use crate::error_body::UpstreamError;
use crate::fault::Fault;

/// Codes and types by which such a server says that the account can't pay.
const NO_CREDIT: [&str; 4] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "quota_exceeded",
];
/// By which it says that it does not have the model.
const NO_MODEL: [&str; 2] = ["model_not_found", "invalid_model"];

impl UpstreamError {
    /// Whose fault this error is at a compatible server. All that is not the request's own is the account's or the server's.
    pub fn fault_of_server(&self) -> Fault {
        let says = |known: &[&str]| {
            [&self.code, &self.kind]
                .into_iter()
                .flatten()
                .any(|said| known.contains(&said.as_str()))
        };
        let retry_after = self.retry_after;
        match self.status {
            402 => Fault::NoCredit,
            400..500 if says(&NO_CREDIT) => Fault::NoCredit,
            401 | 403 => Fault::BadKey,
            404 => Fault::ModelNotServed,
            400..500 if says(&NO_MODEL) => Fault::ModelNotServed,
            408 | 504 | 524 => Fault::Timeout,
            429 => Fault::AccountRateLimited { retry_after },
            400..500 => Fault::Request,
            _ => Fault::ServerFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn what_servers_say_is_understood() {
        let limited = Fault::AccountRateLimited { retry_after: None };
        for (status, body, expected) in [
            (
                401,
                r#"{"error":{"code":"invalid_api_key"}}"#,
                Fault::BadKey,
            ),
            (
                403,
                r#"{"error":{"message":"Country not supported"}}"#,
                Fault::BadKey,
            ),
            (402, "", Fault::NoCredit),
            (
                429,
                r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Fault::NoCredit,
            ),
            (
                429,
                r#"{"error":{"type":"insufficient_quota","code":null}}"#,
                Fault::NoCredit,
            ),
            (
                400,
                r#"{"error":{"code":"billing_hard_limit_reached"}}"#,
                Fault::NoCredit,
            ),
            (
                429,
                r#"{"error":{"type":"requests","code":"rate_limit_exceeded"}}"#,
                limited,
            ),
            (429, "slow down", limited),
            (
                404,
                r#"{"error":{"code":"model_not_found"}}"#,
                Fault::ModelNotServed,
            ),
            (404, "<html>", Fault::ModelNotServed),
            (
                400,
                r#"{"error":{"code":"model_not_found"}}"#,
                Fault::ModelNotServed,
            ),
            (
                400,
                r#"{"error":{"type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                Fault::Request,
            ),
            (422, r#"{"detail":[]}"#, Fault::Request),
            (408, "", Fault::Timeout),
            (504, "", Fault::Timeout),
            (
                500,
                r#"{"error":{"type":"server_error"}}"#,
                Fault::ServerFailed,
            ),
            (503, "", Fault::ServerFailed),
            (301, "", Fault::ServerFailed),
        ] {
            let error = UpstreamError::parse(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.fault_of_server(), expected, "{status} {body}");
        }
        let inside = br#"{"error":{"message":"overloaded","type":"server_error","code":null}}"#;
        let error = UpstreamError::inside_success(inside).unwrap();
        assert_eq!(error.fault_of_server(), Fault::ServerFailed);
    }
}
