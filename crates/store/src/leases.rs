//! Leases: which part of a budget which replica may spend.

use airouter_billing::Timestamp;
use airouter_billing::budget::BudgetSlot;
use airouter_billing::lease::Grant;
use async_trait::async_trait;

use crate::error::StoreError;

/// A running replica: its number only grows, so that what a dead one still sends can be told apart (fencing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(i64);

impl ReplicaId {
    /// The replica with this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// A request for more of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The budget, in the period that the asking lease is for.
    pub slot: BudgetSlot,
    /// What is needed now; all or nothing. 0 only asks what is free.
    pub at_least: i64,
    /// What would be liked.
    pub wish: i64,
}

/// Leases of budgets.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Registers a replica. On SQLite, whose file has one owner, it ends every earlier owner's leases at once.
    async fn register_replica(&self, now: Timestamp) -> Result<ReplicaId, StoreError>;

    /// Adds to this replica's lease of a budget, by [`airouter_billing::lease::grant`]. A budget that does not exist (any more) has nothing free.
    async fn lease(
        &self,
        replica: ReplicaId,
        request: LeaseRequest,
        now: Timestamp,
    ) -> Result<Grant, StoreError>;

    /// Gives back parts of this replica's leases.
    async fn give_back(
        &self,
        replica: ReplicaId,
        amounts: &[(BudgetSlot, i64)],
    ) -> Result<(), StoreError>;

    /// Renews all leases of this replica. [`StoreError::Fenced`] when it has none any more because another took over.
    async fn renew(&self, replica: ReplicaId, now: Timestamp) -> Result<(), StoreError>;
}
