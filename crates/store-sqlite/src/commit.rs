//! The group commit: the hot path. One transaction, one fsync, and a fixed number of statements for any number of
//! events.

use std::collections::HashSet;

use airouter_billing::batch::{self, Settlement};
use airouter_billing::{RequestId, Timestamp, UsageEvent};
use airouter_store::StoreError;
use airouter_store::idempotency::Forfeits;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{
    CommitBatch, Committed, PendingRequest, RefusedEvent, Settlements,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::books::{self, Entry, NewTransaction, TransactionKind};
use crate::connection::{begin, failed};
use crate::open::SqliteStore;
use crate::request_rows::{self, Table};
use crate::shared_rows::{self, SharedRowsOf};
use crate::{corrections, idempotency, pending, refused};

#[async_trait]
impl Settlements for SqliteStore {
    async fn commit(
        &self,
        replica: ReplicaId,
        batch: &CommitBatch,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        if batch.is_empty() {
            return Ok(Committed::default());
        }
        let mut writer = self.writer().await?;
        let events = distinct(&batch.events);
        let shared = shared_rows::shared_rows(&mut writer, &self.shared_rows, &events).await?;
        let mut transaction = begin(&mut writer).await?;
        let answered = batch.answered().map(|pending| pending.request.id);
        let requests = events.iter().map(|event| event.request.id).chain(answered);
        let wanted = batch::slots_of(events.iter().copied());
        let mut books = books::read(&mut transaction, Some(replica), &wanted, requests).await?;
        let claims = &batch.finished_claims;
        let taken = idempotency::superseded(&mut transaction, claims).await?;
        let forfeits = Forfeits::of(events.iter().copied(), &taken);
        let slots = std::mem::take(&mut books.slots);
        let booked = corrections::booked(&mut transaction, &books).await?;
        let settled = events.iter().map(|event| forfeits.instead_of(event));
        let settlement = batch::settle(settled, batch.answers, &booked, slots)
            .map_err(|_| StoreError::OutOfRange)?;
        let committed = Committed::of(batch, &booked, &settlement).forfeiting(&forfeits);
        let lost = committed.superseded.iter().copied().chain(taken).collect();
        idempotency::write(&mut transaction, claims, &lost, now).await?;
        write(
            &mut transaction,
            (replica, books.next_transaction, now),
            settlement,
            &shared,
        )
        .await?;
        let reopened = batch.reopened(&booked);
        pending::replace(&mut transaction, replica, &batch.pending, &reopened).await?;
        pending::remove(&mut transaction, batch).await?;
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

    async fn refused(&self, limit: u32) -> Result<Vec<RefusedEvent>, StoreError> {
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

    async fn own_pending(
        &self,
        replica: ReplicaId,
        after: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<PendingRequest>, StoreError> {
        pending::own(self, replica, after, limit).await
    }
}

/// Writes what is settled: the events of the batch as one transaction, and one for each entry that is corrected.
async fn write(
    connection: &mut SqliteConnection,
    (replica, first, at): (ReplicaId, i64, Timestamp),
    settlement: Settlement<'_>,
    shared: &SharedRowsOf,
) -> Result<(), StoreError> {
    let usage = (!settlement.events.is_empty()).then_some((
        TransactionKind::Usage,
        settlement.postings,
        Table::RequestLogs,
        settlement.events,
    ));
    let corrections = settlement.corrections.into_iter().map(|(of, entry)| {
        let corrections = entry.corrections.into_iter();
        (
            TransactionKind::Correction(of),
            entry.postings,
            Table::RequestCorrections,
            corrections
                .map(|correction| correction.settled)
                .collect::<Vec<_>>(),
        )
    });
    let mut transactions = Vec::new();
    let mut rows = Vec::new();
    for (number, (kind, postings, table, events)) in
        (first..).zip(usage.into_iter().chain(corrections))
    {
        transactions.push(NewTransaction {
            number,
            kind,
            at,
            postings: postings
                .into_postings()
                .map_err(|_| StoreError::OutOfRange)?,
        });
        rows.push((number, table, events));
    }
    if transactions.is_empty() {
        return Ok(());
    }
    let entry = Entry {
        transactions,
        replica: Some(replica),
        slots: settlement.slots,
        balances: settlement.balances,
    };
    books::write(connection, &entry).await?;
    for (number, table, events) in rows {
        request_rows::insert(connection, table, number, &events, shared).await?;
    }
    Ok(())
}

/// The events of a batch, the first of each id.
fn distinct(events: &[UsageEvent]) -> Vec<&UsageEvent> {
    let mut seen = HashSet::with_capacity(events.len());
    events
        .iter()
        .filter(|event| seen.insert(event.request.id))
        .collect()
}
