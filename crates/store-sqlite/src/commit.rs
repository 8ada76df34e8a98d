//! The group commit: the hot path. One transaction, one fsync, and a fixed number of statements for any number of
//! events.

use std::collections::HashSet;

use airouter_billing::{Nanos, RequestId, Timestamp, UsageEvent};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{CommitBatch, PendingRequest, Settlements, Uncollected};
use async_trait::async_trait;

use crate::books::{self, Entry, NewTransaction, TransactionKind};
use crate::connection::{begin, failed};
use crate::open::SqliteStore;
use crate::settle::SettledEvent;
use crate::{pending, request_rows, settle, shared_rows};

#[async_trait]
impl Settlements for SqliteStore {
    async fn commit(
        &self,
        replica: ReplicaId,
        batch: &CommitBatch,
        now: Timestamp,
    ) -> Result<Vec<Uncollected>, StoreError> {
        let mut uncollected = Vec::new();
        if batch.is_empty() {
            return Ok(uncollected);
        }
        let mut writer = self.writer().await?;
        let events = distinct(&batch.events);
        let shared = shared_rows::shared_rows(&mut writer, &self.shared_rows, &events).await?;
        let mut transaction = begin(&mut writer).await?;
        let requests = events.iter().map(|event| event.request.id);
        let wanted = settle::slots_of(&events);
        let books = books::read(&mut transaction, Some(replica), &wanted, requests).await?;
        let (events, shared): (Vec<&UsageEvent>, Vec<_>) = events
            .into_iter()
            .zip(shared)
            .filter(|(event, _)| !books.settled.contains(&event.request.id))
            .unzip();
        if !events.is_empty() {
            let settlement = settle::settle(&events, books.slots)?;
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
            uncollected.extend(settlement.events.iter().filter_map(uncollected_of));
        }
        let settled = batch.events.iter().map(|event| event.request.id);
        let over: Vec<RequestId> = settled.chain(batch.forgotten.iter().copied()).collect();
        pending::replace(&mut transaction, &batch.pending).await?;
        pending::remove(&mut transaction, &over).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(uncollected)
    }

    async fn pending(&self, limit: u32) -> Result<Vec<PendingRequest>, StoreError> {
        pending::oldest(self, limit).await
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
