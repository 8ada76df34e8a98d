//! Rate limits: requests and tokens a minute, and requests at the same time, by key and by account.
//!
//! [`Limiter`] keeps the counters of one process, and may share them with other replicas through a board in Redis
//! ([`RedisBoard`]), which [`Publisher`] keeps up to date. [`SlidingWindow`] is the counting itself, without keys, locks
//! or a clock.

mod admission;
mod board;
mod counters;
mod kinds;
mod limiter;
mod others;
mod publisher;
mod redis_board;
mod share;
mod sharing;
mod table;
#[cfg(test)]
mod tests;
mod window;

pub use admission::Admission;
pub use limiter::{Limiter, Refused};
pub use publisher::Publisher;
pub use redis_board::{MalformedUrl, RedisBoard};
pub use sharing::SharingStatus;
pub use window::{Moment, SlidingWindow, Tick, WINDOW_MS};

use std::num::{NonZeroU32, NonZeroU64};

/// Tells the time.
pub type Clock = std::sync::Arc<dyn Fn() -> Moment + Send + Sync>;

/// Whose requests are counted. The 16 bytes are the id's; keys of different kinds never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKey {
    /// A client key.
    Key([u8; 16]),
    /// An account.
    Account([u8; 16]),
    /// A master account, for what its upstream limits.
    MasterAccount([u8; 16]),
}

/// What a key or an account may do at most; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests in any 60 seconds.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens (prompt and completion) in any 60 seconds.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Requests running at the same time.
    pub concurrent_requests: Option<NonZeroU32>,
}

impl RateLimits {
    /// Whether nothing is limited, so that nothing needs to be counted.
    pub const fn is_unlimited(&self) -> bool {
        self.requests_per_minute.is_none()
            && self.tokens_per_minute.is_none()
            && self.concurrent_requests.is_none()
    }

    pub(crate) fn of(&self, kind: LimitKind) -> Option<u64> {
        match kind {
            LimitKind::Requests => self.requests_per_minute.map(|limit| limit.get().into()),
            LimitKind::Tokens => self.tokens_per_minute.map(NonZeroU64::get),
            LimitKind::Concurrency => self.concurrent_requests.map(|limit| limit.get().into()),
        }
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Requests at the same time.
    Concurrency,
}

/// A request went beyond a limit: HTTP 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} ({which:?})")]
pub struct RateLimited {
    /// The limit that was met; of several the one that takes longest to clear.
    pub which: LimitKind,
    /// Its value.
    pub limit: u64,
    /// What was left of it, too little for this request.
    pub remaining: u64,
    /// Milliseconds after which the same request fits if nobody else asks (a guess for [`LimitKind::Concurrency`]);
    /// `None` if it never will, because it needs more tokens than the whole limit.
    pub retry_after_ms: Option<u64>,
}

/// Where a request leaves its limits, for the `x-ratelimit-…` headers. Of several keys' limits, the one with least left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateStatus {
    /// `x-ratelimit-{limit,remaining,reset}-requests`, if requests are limited.
    pub requests: Option<LimitStatus>,
    /// `x-ratelimit-{limit,remaining,reset}-tokens`, if tokens are limited.
    pub tokens: Option<LimitStatus>,
}

/// The state of one limit after a request was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// The limit.
    pub limit: u64,
    /// What is left of it now.
    pub remaining: u64,
    /// Milliseconds until all of it is free again if nobody asks.
    pub reset_after_ms: u64,
}
