//! What clients may ask about their own use.

use airouter_billing::event::{Delivery, Ending};
use airouter_billing::{AccountId, ApiKeyId, Nanos, Timestamp, TokenCounts};
use async_trait::async_trait;

use crate::error::StoreError;

/// What a key has spent, in client prices, without what was refunded; by the days in which requests were finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// Ever.
    pub total: Nanos,
    /// Since 00:00 UTC.
    pub daily: Nanos,
    /// Since Monday 00:00 UTC.
    pub weekly: Nanos,
    /// Since the 1st, 00:00 UTC.
    pub monthly: Nanos,
    /// The spend limit that holds for it, its own or its payer's, of several the one with the least left.
    pub limit: Option<KeyLimit>,
}

/// A spend limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimit {
    /// The cap.
    pub cap: Nanos,
    /// What is left in this period.
    pub remaining: Nanos,
    /// How often it starts anew.
    pub period: airouter_billing::Period,
}

/// One request of a client, as its generation record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientGeneration {
    /// The upstream's id of the generation.
    pub generation_id: String,
    /// The request's id.
    pub request: airouter_billing::RequestId,
    /// The model that answered, by the name that the client was told.
    pub model: String,
    /// The provider that answered.
    pub provider: Option<String>,
    /// How the answer was sent.
    pub delivery: Delivery,
    /// How it ended.
    pub ending: Ending,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When it was done.
    pub finished_at: Timestamp,
    /// Microseconds to the first byte.
    pub first_byte_micros: Option<u64>,
    /// Tokens by kind.
    pub tokens: TokenCounts,
    /// What the client was charged.
    pub charged: Nanos,
}

/// What clients may ask about their own use.
#[async_trait]
pub trait Reports: Send + Sync + 'static {
    /// What a key has spent.
    async fn key_usage(&self, key: ApiKeyId, now: Timestamp) -> Result<KeyUsage, StoreError>;

    /// One request that `payer` paid for, by the upstream's generation id or by our request id (as text).
    async fn generation(
        &self,
        payer: AccountId,
        id: &str,
    ) -> Result<Option<ClientGeneration>, StoreError>;

    /// Whether a request of `payer` with this generation id is written down, but what it cost is not: it runs, or that is
    /// still to be found out.
    async fn is_generation_pending(
        &self,
        payer: AccountId,
        generation: &str,
    ) -> Result<bool, StoreError>;
}
