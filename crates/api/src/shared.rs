//! What all requests share.

use std::sync::Arc;

use airouter_auth::TokenKeys;
use airouter_billing::Timestamp;
use airouter_store::Store;
use bytes::Bytes;

use crate::attempts::Attempts;
use crate::passwords::Passwords;
use crate::rates::Rates;
use crate::registration::RegistrationMode;

/// Tells the time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: TokenKeys,
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Attempts,
    pub(crate) rates: Rates,
    pub(crate) registration: RegistrationMode,
    /// The OpenAPI document.
    pub(crate) document: Bytes,
    now: Now,
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        tokens: TokenKeys,
        passwords: Passwords,
        registration: RegistrationMode,
        document: Bytes,
        now: Now,
    ) -> Self {
        Self {
            store,
            tokens,
            passwords,
            attempts: Attempts::default(),
            rates: Rates::default(),
            registration,
            document,
            now,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Now, in seconds since the epoch, as tokens have it.
    pub(crate) fn now_seconds(&self) -> i64 {
        self.now().as_micros().div_euclid(1_000_000)
    }
}
