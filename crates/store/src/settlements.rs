//! Settlement: usage events, their postings, and what is still open.

use airouter_billing::event::{RequestFacts, Served};
use airouter_billing::recovery::PendingReason;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{Nanos, RequestId, Timestamp, UsageEvent};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::leases::ReplicaId;

/// A request whose usage is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRequest {
    /// The request.
    pub request: RequestFacts,
    /// Where it was sent.
    pub served: Served,
    /// Why it is pending.
    pub reason: PendingReason,
    /// What it holds of each budget: `from_lease` is the hold, `excess` is 0.
    pub holds: Vec<BudgetCharge>,
    /// When it became pending.
    pub since: Timestamp,
}

/// What one group commit makes durable, in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitBatch {
    /// Finished requests. An event whose id is known already is ignored: it was committed before.
    pub events: Vec<UsageEvent>,
    /// Requests to be found again after a crash; one that is known already is replaced.
    pub pending: Vec<PendingRequest>,
    /// Pending requests that turned out not to have been billed. (An event removes its own pending record.)
    pub forgotten: Vec<RequestId>,
}

impl CommitBatch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.pending.is_empty() && self.forgotten.is_empty()
    }
}

/// What the budgets of a request did not cover of its price: the operator's loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncollected {
    /// The request.
    pub request: RequestId,
    /// How much.
    pub amount: Nanos,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Prices that were not covered whole.
    pub uncollected: Vec<Uncollected>,
    /// Charged events whose request another replica has meanwhile booked as a loss, because it took this replica for
    /// dead: the loss stands, and the client must not be told that its answer is whole.
    pub superseded: Vec<RequestId>,
}

/// A usage event that the database refused, and why.
#[derive(Clone, Debug)]
pub struct RefusedEvent {
    /// The event.
    pub event: UsageEvent,
    /// What the database said.
    pub reason: String,
}

/// Usage events and pending requests.
#[async_trait]
pub trait Settlements: Send + Sync + 'static {
    /// Commits a batch, durably (SQLite `synchronous=FULL`, PostgreSQL `synchronous_commit=on`): events, one ledger
    /// transaction with the postings that [`airouter_billing::posting`] makes of them (summed by account), balances,
    /// budgets and leases, as [`airouter_billing::batch::settle`] decides. Pending requests belong to `replica` from now
    /// on. When it returns an error, nothing was changed, or everything was; sending the batch again is safe, also after
    /// the replica was ended: then its leases cover nothing.
    async fn commit(
        &self,
        replica: ReplicaId,
        batch: &CommitBatch,
        now: Timestamp,
    ) -> Result<Committed, StoreError>;

    /// Sets an event aside that the database refuses: it is kept whole, and [`crate::Ledger::verify`] counts it until it
    /// is booked by a commit.
    async fn set_aside(
        &self,
        replica: ReplicaId,
        refused: &RefusedEvent,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Events that were set aside and are not booked yet, oldest first, at most `limit`.
    async fn refused(&self, limit: u32) -> Result<Vec<UsageEvent>, StoreError>;

    /// All pending requests, oldest first, at most `limit`.
    async fn pending(&self, limit: u32) -> Result<Vec<PendingRequest>, StoreError>;

    /// Makes pending requests of replicas that have ended this replica's own, oldest first, at most `limit`; no other
    /// replica gets the same.
    async fn take_over_pending(
        &self,
        replica: ReplicaId,
        limit: u32,
    ) -> Result<Vec<PendingRequest>, StoreError>;
}
