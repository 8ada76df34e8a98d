//! Attempts that are counted, so that whoever makes too many waits: on all replicas together.

use std::time::Duration;

use airouter_auth::sha256;
use airouter_billing::Timestamp;
use async_trait::async_trait;

use crate::error::StoreError;

/// After so many seconds without an attempt all is forgotten.
pub const FORGOTTEN_AFTER_SECONDS: i64 = 3600;
/// With each attempt at most so many counts are removed that are forgotten.
pub const MOST_COUNTS_REMOVED: i64 = 20;

/// Whose attempts are counted together: a hash, so that a count tells nothing of whom it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptKey([u8; 32]);

impl AttemptKey {
    /// Attempts of one kind that concern the same.
    pub fn of(kind: &str, whom: &str) -> Self {
        Self(sha256(format!("{kind}:{whom}").as_bytes()))
    }

    /// The key as it is stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What an attempt counts for.
#[derive(Clone)]
pub struct Count {
    /// Whose attempts.
    pub key: AttemptKey,
    /// The pause after so many attempts, from none on; the last one holds for all beyond. There is at least one.
    pub pauses: Vec<Duration>,
}

impl Count {
    /// The pauses in microseconds.
    pub fn pauses_micros(&self) -> Vec<i64> {
        let micros = |pause: &Duration| i64::try_from(pause.as_micros()).unwrap_or(i64::MAX / 2);
        self.pauses.iter().map(micros).collect()
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It was counted, and may be made.
    Yes,
    /// A pause goes on for so long; nothing was counted.
    Paused(Duration),
}

/// Counts of attempts. They are forgotten [`FORGOTTEN_AFTER_SECONDS`] after the last one, and removed then bit by bit.
#[async_trait]
pub trait Attempts: Send + Sync + 'static {
    /// Counts an attempt, before it is made, for all of these or, where one has a pause, for none. However many come at once,
    /// each is counted after the one before.
    async fn count_attempt(&self, counts: &[Count], at: Timestamp) -> Result<Counted, StoreError>;

    /// Forgets all attempts of a key.
    async fn forget_attempts(&self, key: &AttemptKey) -> Result<(), StoreError>;

    /// Takes back one attempt of a key.
    async fn take_back_attempt(&self, key: &AttemptKey) -> Result<(), StoreError>;
}
