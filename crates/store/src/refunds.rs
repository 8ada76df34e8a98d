//! What was given back of single requests.

use airouter_billing::refund::RefundTooLarge;
use airouter_billing::{Nanos, RequestId, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;
use crate::client_admin::{Booked, IdempotencyKey};
use crate::error::StoreError;

/// A refund with who, when and why.
#[derive(Clone, Debug)]
pub struct RefundOrder {
    /// Of which request.
    pub request: RequestId,
    /// How much; `None` is all that is left of the charge.
    pub amount: Option<Nanos>,
    /// Why.
    pub reason: String,
    /// Who: a login's e-mail address.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// What the audit log says of it; what was refunded before and after is put in.
    pub audit: AuditEntry,
    /// Under which key it was asked for.
    pub idempotency: Option<IdempotencyKey>,
}

/// What was refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedRefund {
    /// The transaction of the ledger.
    pub transaction: i64,
    /// How much.
    pub amount: Nanos,
    /// What of the request is refunded now in all.
    pub refunded: Nanos,
}

/// What became of a [`RefundOrder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refunding {
    /// It is a transaction of the ledger, or its key says otherwise.
    Booked(Booked<BookedRefund>),
    /// So much is not left of the charge.
    TooLarge(RefundTooLarge),
}

/// A refund as it was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRecord {
    /// The transaction of the ledger.
    pub transaction: i64,
    /// How much.
    pub amount: Nanos,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// Refunds.
#[async_trait]
pub trait Refunds: Send + Sync + 'static {
    /// Gives back what a request was charged, or a part of it ([`airouter_billing::refund::Charge::refund`]): a transaction
    /// of the ledger that names the one of the charge, once for an idempotency key, and never more in all than was charged.
    /// [`StoreError::NotFound`] when there is no such request.
    async fn refund(&self, order: &RefundOrder) -> Result<Refunding, StoreError>;

    /// What was given back of a request, in the order in which it was.
    async fn refunds(&self, request: RequestId) -> Result<Vec<RefundRecord>, StoreError>;
}
