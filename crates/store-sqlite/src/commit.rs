//! The group commit: the hot path. One transaction, one fsync, and a fixed number of statements for any number of
//! events.

use std::collections::HashSet;

use airouter_billing::batch::{self, SettledEvent};
use airouter_billing::{Nanos, Outcome, RequestId, Timestamp, UsageEvent};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{
    CommitBatch, Committed, PendingRequest, RefusedEvent, Settlements, Uncollected,
};
use async_trait::async_trait;

use crate::books::{self, Entry, NewTransaction, TransactionKind};
use crate::connection::{begin, failed};
use crate::open::SqliteStore;
use crate::{pending, refused, request_rows, shared_rows};

#[async_trait]
impl Settlements for SqliteStore {
    async fn commit(
        &self,
        replica: ReplicaId,
        batch: &CommitBatch,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        let mut committed = Committed::default();
        if batch.is_empty() {
            return Ok(committed);
        }
        let mut writer = self.writer().await?;
        let events = distinct(&batch.events);
        let shared = shared_rows::shared_rows(&mut writer, &self.shared_rows, &events).await?;
        let mut transaction = begin(&mut writer).await?;
        let requests = events.iter().map(|event| event.request.id);
        let wanted = batch::slots_of(events.iter().copied());
        let books = books::read(&mut transaction, Some(replica), &wanted, requests).await?;
        let shared: Vec<_> = events
            .iter()
            .zip(shared)
            .filter(|(event, _)| !books.settled.contains(&event.request.id))
            .map(|(_, shared)| shared)
            .collect();
        let settlement = batch::settle(events.iter().copied(), &books.settled, books.slots)
            .map_err(|_| StoreError::OutOfRange)?;
        if !settlement.events.is_empty() {
            let number = books.next_transaction;
            let postings = settlement
                .postings
                .into_postings()
                .map_err(|_| StoreError::OutOfRange)?;
            let entry = Entry {
                transaction: Some(NewTransaction {
                    number,
                    kind: TransactionKind::Usage,
                    at: now,
                    postings: &postings,
                }),
                replica: Some(replica),
                slots: settlement.slots,
                balances: settlement.balances,
            };
            books::write(&mut transaction, &entry).await?;
            request_rows::insert(&mut transaction, number, &settlement.events, &shared).await?;
            committed.uncollected = settlement
                .events
                .iter()
                .filter_map(uncollected_of)
                .collect();
        }
        committed.superseded = events
            .iter()
            .filter(|event| event.outcome == Outcome::Charged)
            .map(|event| event.request.id)
            .filter(|request| books.lost.contains(request))
            .collect();
        let settled = batch.events.iter().map(|event| event.request.id);
        let over: Vec<RequestId> = settled.chain(batch.forgotten.iter().copied()).collect();
        pending::replace(&mut transaction, replica, &batch.pending).await?;
        pending::remove(&mut transaction, &over).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(committed)
    }

    async fn set_aside(
        &self,
        replica: ReplicaId,
        refused: &RefusedEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        refused::set_aside(self, replica, refused, now).await
    }

    async fn refused(&self, limit: u32) -> Result<Vec<UsageEvent>, StoreError> {
        refused::unbooked(self, limit).await
    }

    async fn pending(&self, limit: u32) -> Result<Vec<PendingRequest>, StoreError> {
        pending::oldest(self, limit).await
    }

    async fn take_over_pending(
        &self,
        replica: ReplicaId,
        limit: u32,
    ) -> Result<Vec<PendingRequest>, StoreError> {
        pending::take_over(self, replica, limit).await
    }
}

fn uncollected_of(settled: &SettledEvent<'_>) -> Option<Uncollected> {
    let amount = settled.covered.uncollected;
    (amount > Nanos::ZERO).then_some(Uncollected {
        request: settled.event.request.id,
        amount,
    })
}

/// The events of a batch, the first of each id.
fn distinct(events: &[UsageEvent]) -> Vec<&UsageEvent> {
    let mut seen = HashSet::with_capacity(events.len());
    events
        .iter()
        .filter(|event| seen.insert(event.request.id))
        .collect()
}
