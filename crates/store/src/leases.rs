//! Leases: which part of a budget which replica may spend.

use airouter_billing::Timestamp;
use airouter_billing::budget::BudgetSlot;
use airouter_billing::lease::Grant;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A running replica: its number only grows, so that what a dead one still sends can be told apart (fencing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
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

/// The database's answer to a [`LeaseRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// What was granted, and what remains free.
    pub grant: Grant,
    /// What leases of other replicas have reserved of the budget: a part of it may be idle.
    pub elsewhere: i64,
}

/// Leases of budgets.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Registers a replica; its number is larger than any before, also than those that a database which was restored from
    /// a backup has forgotten. On SQLite, whose file has one owner, it ends every earlier owner's leases at once.
    async fn register_replica(&self, now: Timestamp) -> Result<ReplicaId, StoreError>;

    /// Adds to this replica's lease of a budget, by [`airouter_billing::lease::grant`]. A budget that does not exist (any
    /// more) has nothing free. [`StoreError::Fenced`] when the replica was ended.
    async fn lease(
        &self,
        replica: ReplicaId,
        request: LeaseRequest,
        now: Timestamp,
    ) -> Result<Leased, StoreError>;

    /// Gives back parts of this replica's leases.
    async fn give_back(
        &self,
        replica: ReplicaId,
        amounts: &[(BudgetSlot, i64)],
    ) -> Result<(), StoreError>;

    /// Renews all leases of this replica. [`StoreError::Fenced`] when it was ended: its leases were given back.
    async fn renew(&self, replica: ReplicaId, now: Timestamp) -> Result<(), StoreError>;

    /// Ends this replica: what its leases have left goes back at once, and what it left open is anybody's. It stops.
    async fn end_replica(&self, replica: ReplicaId, now: Timestamp) -> Result<(), StoreError>;

    /// Ticks the [`airouter_billing::tenure::LeaseClock`] and ends the replicas that were silent for too long: their
    /// leases go back to their budgets. Returns those that this call ended. To be called every second or so by every
    /// replica; on SQLite the lock of the file decides instead, and nothing lapses.
    async fn end_silent_replicas(&self, now: Timestamp) -> Result<Vec<ReplicaId>, StoreError>;
}
