//! Settlement: usage events, their postings, and what is still open.

use airouter_billing::batch::{Correction, SettledEvent, Settlement};
use airouter_billing::correction::{Answers, BookedRequests, Opening, closes, opening};
use airouter_billing::event::{LossReason, RequestFacts, Served};
use airouter_billing::recovery::PendingReason;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{Nanos, RequestId, Timestamp, UsageEvent};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::idempotency::{Claim, FinishedClaim, Forfeits};
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
    /// The key that it has, if it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// What one group commit makes durable, in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitBatch {
    /// Finished requests. An event whose id is known already is ignored, but where it corrects a loss: it was committed
    /// before.
    pub events: Vec<UsageEvent>,
    /// Requests to be found again after a crash; one that is known already is replaced, unless less is known now.
    pub pending: Vec<PendingRequest>,
    /// Pending requests that turned out not to have been billed. (An event removes its own pending record, unless
    /// that asks for more than the event knows: [`CommitBatch::over`].)
    pub forgotten: Vec<RequestId>,
    /// Requests of this batch that came with an `Idempotency-Key`. The event of one whose key has gone to another request
    /// meanwhile is booked as [`UsageEvent::forfeit`] says, and is superseded.
    #[serde(default)]
    pub finished_claims: Vec<FinishedClaim>,
    /// What the clients of all these requests know of their answers. It is not written down with the batch: whoever
    /// reads it back knows that the answers have ended since.
    #[serde(skip)]
    pub answers: Answers,
}

impl CommitBatch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.pending.is_empty() && self.forgotten.is_empty()
    }

    /// Requests that are not pending for this reason any more.
    pub fn over(&self, reason: PendingReason) -> Vec<RequestId> {
        let events = self.events.iter();
        let settled = events.filter(|event| closes(event.outcome, reason));
        settled
            .map(|event| event.request.id)
            .chain(self.forgotten.iter().copied())
            .collect()
    }

    /// Pending requests whose clients have had their answers, or are told by this commit that they are whole: it has to
    /// be known how these are booked.
    pub fn answered(&self) -> impl Iterator<Item = &PendingRequest> {
        self.pending
            .iter()
            .filter(|pending| pending.reason == PendingReason::UsageUnknown)
    }

    /// Those of [`CommitBatch::answered`] that are booked as a loss, and asked for again.
    pub fn reopened(&self, booked: &BookedRequests) -> Vec<RequestId> {
        self.answered()
            .filter(|pending| booked.contains_key(&pending.request.id))
            .filter(|pending| self.opening(pending, booked) == Opening::Opens)
            .map(|pending| pending.request.id)
            .collect()
    }

    fn opening(&self, pending: &PendingRequest, booked: &BookedRequests) -> Opening {
        opening(
            pending.reason,
            self.answers,
            booked.get(&pending.request.id),
        )
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

/// A loss that was taken back, because the client had its answer, and is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrected {
    /// The request.
    pub request: RequestId,
    /// What the loss was booked as.
    pub reason: LossReason,
    /// How much the loss was.
    pub reversed: Nanos,
    /// What the client pays.
    pub charged: Nanos,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Prices that were not covered whole.
    pub uncollected: Vec<Uncollected>,
    /// Requests that another replica has meanwhile booked as a loss, because it took this replica for dead: the loss
    /// stands, and the client must not be told that its answer is whole.
    pub superseded: Vec<RequestId>,
    /// Losses that another replica had booked meanwhile, and which were taken back.
    pub corrected: Vec<Corrected>,
}

impl Committed {
    /// What becomes of `batch` as it is settled so.
    pub fn of(batch: &CommitBatch, booked: &BookedRequests, settlement: &Settlement<'_>) -> Self {
        let corrections = || settlement.corrections.values();
        let corrections = || corrections().flat_map(|entry| &entry.corrections);
        let corrected = corrections().map(|correction| &correction.settled);
        let unanswered = batch
            .answered()
            .filter(|pending| batch.opening(pending, booked) == Opening::Superseded)
            .map(|pending| pending.request.id);
        let superseded = settlement.superseded.iter().copied();
        Self {
            uncollected: settlement
                .events
                .iter()
                .chain(corrected)
                .filter_map(Uncollected::of)
                .collect(),
            superseded: superseded.chain(unanswered).collect(),
            corrected: corrections().map(Corrected::of).collect(),
        }
    }

    /// The same, where some have forfeited what they would have been charged.
    #[must_use]
    pub fn forfeiting(mut self, forfeits: &Forfeits) -> Self {
        for request in forfeits.charged() {
            if !self.superseded.contains(request) {
                self.superseded.push(*request);
            }
        }
        self
    }
}

impl Uncollected {
    fn of(settled: &SettledEvent<'_>) -> Option<Self> {
        let amount = settled.covered.uncollected;
        (amount > Nanos::ZERO).then_some(Self {
            request: settled.event.request.id,
            amount,
        })
    }
}

impl Corrected {
    const fn of(correction: &Correction<'_>) -> Self {
        Self {
            request: correction.settled.event.request.id,
            reason: correction.loss.reason,
            reversed: correction.loss.cost,
            charged: correction.settled.covered.charged,
        }
    }
}

/// A usage event that the database refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEvent {
    /// The event.
    pub event: UsageEvent,
    /// What its client knows of its answer.
    pub answers: Answers,
    /// What the database said.
    pub reason: String,
}

impl RefusedEvent {
    /// What books it, once the cause is gone.
    pub fn into_batch(self) -> CommitBatch {
        CommitBatch {
            events: vec![self.event],
            answers: self.answers,
            ..CommitBatch::default()
        }
    }
}

/// Usage events and pending requests.
#[async_trait]
pub trait Settlements: Send + Sync + 'static {
    /// Commits a batch, durably (SQLite `synchronous=FULL`, PostgreSQL `synchronous_commit=on`): events, one ledger
    /// transaction with the postings that [`airouter_billing::posting`] makes of them (summed by account), balances,
    /// budgets and leases, as [`airouter_billing::batch::settle`] decides; a loss that is corrected stays, and the
    /// correction is a transaction of its own that names the loss's. Pending requests belong to `replica` from now on. When it returns an error, nothing was changed, or everything was; sending the batch again is safe, also after
    /// the replica was ended: then its leases cover nothing.
    async fn commit(
        &self,
        replica: ReplicaId,
        batch: &CommitBatch,
        now: Timestamp,
    ) -> Result<Committed, StoreError>;

    /// Sets an event aside that the database refuses: it is kept whole, and [`crate::Ledger::verify`] counts it until it
    /// is booked by a commit. It is not pending any more; of one that was pending because its usage was not known, the
    /// client has had its answer.
    async fn set_aside(
        &self,
        replica: ReplicaId,
        refused: &RefusedEvent,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Events that were set aside and are not booked yet, oldest first, at most `limit`. A charge whose client has had its
    /// answer is not booked by the loss that another replica has made of it meanwhile.
    async fn refused(&self, limit: u32) -> Result<Vec<RefusedEvent>, StoreError>;

    /// All pending requests, oldest first, at most `limit`.
    async fn pending(&self, limit: u32) -> Result<Vec<PendingRequest>, StoreError>;

    /// Makes pending requests of replicas that have ended this replica's own, oldest first, at most `limit`; no other
    /// replica gets the same.
    async fn take_over_pending(
        &self,
        replica: ReplicaId,
        limit: u32,
    ) -> Result<Vec<PendingRequest>, StoreError>;

    /// Pending requests that are this replica's own, by id, those after `after`, at most `limit`.
    async fn own_pending(
        &self,
        replica: ReplicaId,
        after: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<PendingRequest>, StoreError>;
}
