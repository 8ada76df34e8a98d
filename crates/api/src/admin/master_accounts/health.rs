//! How a master account is, as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use crate::upstreams::{self, Passing};
use crate::values::{Id, Time};

/// How an account is at the replica that answers: each finds out for itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Its circuit breaker, with those of its keys: `closed` (requests pass), `half_open` (one finds out) or `open` (none
    /// passes).
    #[schema(example = "closed")]
    breaker: &'static str,
    /// Until when it is open.
    open_until: Option<Time>,
    /// Requests that run on it.
    in_flight: usize,
    /// Requests of the last minute.
    requests_of_last_minute: u64,
    /// Its keys.
    keys: Vec<KeyHealth>,
}

/// How a key is at the replica that answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyHealth {
    /// Its id.
    id: Id,
    /// Its circuit breaker.
    #[schema(example = "closed")]
    breaker: &'static str,
    /// Until when it is open.
    open_until: Option<Time>,
    /// Requests that run on it.
    in_flight: usize,
}

fn breaker(passing: Passing) -> (&'static str, Option<Time>) {
    match passing {
        Passing::All => ("closed", None),
        Passing::One => ("half_open", None),
        Passing::None(until) => ("open", Some(Time(until))),
    }
}

impl From<upstreams::Health> for Health {
    fn from(health: upstreams::Health) -> Self {
        let (breaker, open_until) = breaker(health.passing);
        Self {
            breaker,
            open_until,
            in_flight: health.in_flight,
            requests_of_last_minute: health.recent,
            keys: health.keys.into_iter().map(KeyHealth::from).collect(),
        }
    }
}

impl From<upstreams::KeyHealth> for KeyHealth {
    fn from(health: upstreams::KeyHealth) -> Self {
        let (breaker, open_until) = breaker(health.passing);
        Self {
            id: Id(health.key),
            breaker,
            open_until,
            in_flight: health.in_flight,
        }
    }
}
