//! How a master account is at this replica, for the operator.

use std::sync::atomic::Ordering;

use airouter_billing::Timestamp;
use uuid::Uuid;

use super::account::Master;
use super::breaker::Look;

/// Whether requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// They do.
    All,
    /// One finds out whether they may.
    One,
    /// None does, until then.
    None {
        /// The end of it.
        until: Timestamp,
    },
}

/// How a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHealth {
    /// Its id.
    pub id: Uuid,
    /// Whether requests pass.
    pub passing: Passing,
    /// Requests that run on it.
    pub in_flight: usize,
}

/// How an account is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterHealth {
    /// Whether requests pass.
    pub passing: Passing,
    /// Requests that run on it.
    pub in_flight: usize,
    /// Requests of the last minute.
    pub recent: u64,
    /// Its keys, in their order.
    pub keys: Vec<KeyHealth>,
}

impl From<Look> for Passing {
    fn from(look: Look) -> Self {
        match look {
            Look::Closed => Self::All,
            Look::Due | Look::Probing => Self::One,
            Look::Open { until, .. } => Self::None { until },
        }
    }
}

impl Master {
    /// How it is at this replica.
    pub fn health(&self, now: Timestamp) -> MasterHealth {
        let keys = self.keys.iter().map(|key| KeyHealth {
            id: key.id,
            passing: key.state.breaker.look(now).into(),
            in_flight: key.state.in_flight.load(Ordering::Relaxed),
        });
        MasterHealth {
            passing: self.look(now).into(),
            in_flight: self.in_flight(),
            recent: self.state.recent.count(now),
            keys: keys.collect(),
        }
    }
}
