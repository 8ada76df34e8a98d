//! Leases: granted to all who wait in one transaction; renewed, given back and ended on a connection of their own, so
//! that nothing keeps a replica from renewing.

use std::collections::BTreeSet;

use airouter_billing::Timestamp;
use airouter_billing::batch::SlotChanges;
use airouter_billing::budget::BudgetSlot;
use airouter_store::StoreError;
use airouter_store::leases::{LeaseRequest, Leased, Leases, ReplicaId};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::books::{self, Entry};
use crate::changes;
use crate::dedicated::{begin, bounded, finish};
use crate::grants::Asked;
use crate::open::PostgresStore;
use crate::replicas::{self, Remaining};

/// So many parts of what an ended replica has left go back in one round: in between its own renewals get their turn.
const PARTS_AT_A_TIME: usize = 5;

#[async_trait]
impl Leases for PostgresStore {
    async fn register_replica(&self, now: Timestamp) -> Result<ReplicaId, StoreError> {
        let mut lent = self.upkeep.lend().await?;
        let outcome = bounded(async {
            let mut transaction = begin(&mut lent).await?;
            let registered = replicas::register(&mut transaction, now).await;
            finish(transaction, registered).await
        })
        .await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn lease(
        &self,
        replica: ReplicaId,
        request: LeaseRequest,
        _now: Timestamp,
    ) -> Result<Leased, StoreError> {
        let asked = Asked { replica, request };
        self.grants.ask(asked).await?.ok_or(StoreError::Fenced)
    }

    async fn give_back(
        &self,
        replica: ReplicaId,
        amounts: &[(BudgetSlot, i64)],
    ) -> Result<(), StoreError> {
        if amounts.is_empty() {
            return Ok(());
        }
        let mut lent = self.upkeep.lend().await?;
        let outcome = bounded(async {
            let mut transaction = begin(&mut lent).await?;
            let released = release(&mut transaction, replica, amounts).await;
            finish(transaction, released).await
        })
        .await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn renew(&self, replica: ReplicaId, _now: Timestamp) -> Result<(), StoreError> {
        let mut lent = self.upkeep.lend().await?;
        let outcome = bounded(async {
            let mut transaction = begin(&mut lent).await?;
            let renewed = replicas::renew(&mut transaction, replica).await;
            finish(transaction, renewed).await
        })
        .await;
        lent.give_back_after(&outcome);
        if outcome.is_ok() {
            self.prune_changes().await;
        }
        outcome
    }

    async fn end_replica(&self, replica: ReplicaId, now: Timestamp) -> Result<(), StoreError> {
        let mut lent = self.upkeep.lend().await?;
        let outcome = bounded(async {
            let mut transaction = begin(&mut lent).await?;
            let ended = replicas::end(&mut transaction, replica, now).await;
            finish(transaction, ended).await
        })
        .await;
        let outcome = match outcome {
            Ok(()) => give_back_parts(&mut lent, replica.get(), usize::MAX).await,
            Err(error) => Err(error),
        };
        lent.give_back_after(&outcome);
        outcome
    }

    async fn end_silent_replicas(&self, now: Timestamp) -> Result<Vec<ReplicaId>, StoreError> {
        let mut lent = self.upkeep.lend().await?;
        let outcome = bounded(async {
            let mut transaction = begin(&mut lent).await?;
            let ticked = replicas::tick(&mut transaction).await;
            let clock = finish(transaction, ticked).await?;
            // The clock is free again: others renew while leases go back.
            let mut transaction = begin(&mut lent).await?;
            let ended = replicas::end_silent(&mut transaction, clock, now).await;
            let ended = finish(transaction, ended).await?;
            let left = replicas::ended_with_leases(&mut lent).await?;
            Ok((ended, left))
        })
        .await;
        let outcome = match outcome {
            Ok((ended, left)) => {
                for replica in left {
                    // They have ended all the same; what is left goes back next time.
                    if let Err(error) = give_back_parts(&mut lent, replica, PARTS_AT_A_TIME).await {
                        tracing::warn!(%error, replica, "leases of an ended replica could not be given back yet");
                        lent.discard();
                        return Ok(ended);
                    }
                }
                Ok(ended)
            }
            Err(error) => Err(error),
        };
        lent.give_back_after(&outcome);
        outcome
    }
}

impl PostgresStore {
    /// Keeps the change log short. That it could not be is no reason not to renew.
    async fn prune_changes(&self) {
        let pruned = self
            .on_pool(async |connection| changes::prune(connection).await)
            .await;
        if let Err(error) = pruned {
            tracing::warn!(%error, "the change log could not be pruned");
        }
    }
}

/// Gives leases of an ended replica back, part by part; each is a transaction of its own.
async fn give_back_parts(
    connection: &mut PgConnection,
    ended: i64,
    parts: usize,
) -> Result<(), StoreError> {
    for _ in 0..parts {
        let part = bounded(async {
            let mut transaction = begin(connection).await?;
            let part = replicas::give_part_back(&mut transaction, ended).await;
            finish(transaction, part).await
        });
        if part.await? == Remaining::None {
            break;
        }
    }
    Ok(())
}

async fn release(
    connection: &mut PgConnection,
    replica: ReplicaId,
    amounts: &[(BudgetSlot, i64)],
) -> Result<(), StoreError> {
    let slots: BTreeSet<BudgetSlot> = amounts.iter().map(|(slot, _)| *slot).collect();
    books::lock(connection, &slots, std::iter::empty()).await?;
    let mut books = books::read(connection, replica, &slots, std::iter::empty()).await?;
    let mut changes = SlotChanges::new();
    for (slot, amount) in amounts {
        let Some(state) = books.slots.get_mut(slot) else {
            continue;
        };
        let released = (*amount).clamp(0, state.leased.max(0));
        state.leased -= released;
        changes.entry(*slot).or_default().released += released;
    }
    let entry = Entry {
        replica: Some(replica),
        slots: changes,
        ..Entry::default()
    };
    books::write(connection, &entry).await
}
