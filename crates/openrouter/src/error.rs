//! How a call of the control API can fail.

use std::time::Duration;

/// Why a call of the control API failed. Neither keys nor the upstream's words are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// 401: the key is unknown, disabled, or no text that a header can carry.
    #[error("the upstream does not accept the key")]
    Unauthorized,
    /// 402: the account is out of credit.
    #[error("the upstream account is out of credit")]
    PaymentRequired,
    /// 403: another kind of key is needed.
    #[error("the upstream does not permit this with this key")]
    Forbidden,
    /// 404: there is no such thing, or not yet.
    #[error("the upstream does not know of it")]
    NotFound {
        /// When to ask again, if it said so.
        retry_after: Option<Duration>,
    },
    /// 429.
    #[error("the upstream limits the rate of calls")]
    RateLimited {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the upstream failed with status {status}")]
    Server {
        /// The HTTP status.
        status: u16,
    },
    /// Any other status that is not 200: the call itself is wrong, or the address isn't the upstream's.
    #[error("the upstream refused the call with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// No whole answer came.
    #[error("no answer from the upstream: {0}")]
    Transport(TransportFault),
    /// The answer is larger than such an answer can be.
    #[error("the upstream's answer is too large")]
    TooLarge,
    /// The answer can't be read.
    #[error("the upstream's answer can't be read: {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
}

/// What went wrong on the way to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportFault {
    /// No connection: name, address, route, TLS or proxy.
    #[error("no connection")]
    Connect,
    /// It took too long.
    #[error("timed out")]
    Timeout,
    /// The connection broke, or spoke no HTTP.
    #[error("the connection broke")]
    Broken,
}

impl From<reqwest::Error> for ControlError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(if error.is_timeout() {
            TransportFault::Timeout
        } else if error.is_connect() {
            TransportFault::Connect
        } else {
            TransportFault::Broken
        })
    }
}
