//! The group commit: the hot path. One transaction, one flush to disk, and a fixed number of statements for any number
//! of events, on a connection that does nothing else.

use std::collections::HashSet;

use airouter_billing::batch::{Settlement, settle, slots_of};
use airouter_billing::{RequestId, Timestamp, UsageEvent};
use airouter_store::StoreError;
use airouter_store::idempotency::Forfeits;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{
    CommitBatch, Committed, PendingRequest, RefusedEvent, Settlements,
};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::books::{self, Entry, Postings};
use crate::connection::is_conflict;
use crate::dedicated::{begin, bounded, finish};
use crate::open::PostgresStore;
use crate::shared_rows::{SharedRowCache, SharedRowsOf, shared_rows};
use crate::{corrections, idempotency, pending, refused, request_rows};

/// How often a batch is tried that comes into conflict with the transaction of another replica.
const ATTEMPTS: u32 = 4;

#[async_trait]
impl Settlements for PostgresStore {
    async fn commit(
        &self,
        replica: ReplicaId,
        batch: &CommitBatch,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        if batch.is_empty() {
            return Ok(Committed::default());
        }
        let attempt = Attempt::of(replica, batch, now);
        let mut lent = self.commits.lend().await?;
        if lent.is_new() {
            // Behind a new connection may be an older state of the database, with other numbers.
            self.shared_rows.clear();
        }
        let outcome = bounded(attempt.commit(&mut lent, &self.shared_rows)).await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn set_aside(
        &self,
        replica: ReplicaId,
        refused: &RefusedEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut lent = self.upkeep.lend().await?;
        let outcome = bounded(refused::set_aside(&mut lent, replica, refused, now)).await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn refused(&self, limit: u32) -> Result<Vec<RefusedEvent>, StoreError> {
        self.on_pool(async |connection| refused::unbooked(connection, limit).await)
            .await
    }

    async fn pending(&self, limit: u32) -> Result<Vec<PendingRequest>, StoreError> {
        self.on_pool(async |connection| pending::oldest(connection, limit).await)
            .await
    }

    async fn take_over_pending(
        &self,
        replica: ReplicaId,
        limit: u32,
    ) -> Result<Vec<PendingRequest>, StoreError> {
        let mut lent = self.upkeep.lend().await?;
        // In a transaction, so that a server which hangs does not carry it out after nobody waits any more.
        let outcome = bounded(async {
            let mut transaction = begin(&mut lent).await?;
            let taken = pending::take_over(&mut transaction, replica, limit).await;
            finish(transaction, taken).await
        })
        .await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn own_pending(
        &self,
        replica: ReplicaId,
        after: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<PendingRequest>, StoreError> {
        self.on_pool(async |connection| pending::own(connection, replica, after, limit).await)
            .await
    }
}

/// A batch on its way.
struct Attempt<'a> {
    replica: ReplicaId,
    batch: &'a CommitBatch,
    /// The first of each id.
    events: Vec<&'a UsageEvent>,
    now: Timestamp,
}

impl<'a> Attempt<'a> {
    fn of(replica: ReplicaId, batch: &'a CommitBatch, now: Timestamp) -> Self {
        let mut seen = HashSet::with_capacity(batch.events.len());
        let events = batch
            .events
            .iter()
            .filter(|event| seen.insert(event.request.id))
            .collect();
        Self {
            replica,
            batch,
            events,
            now,
        }
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        cache: &SharedRowCache,
    ) -> Result<Committed, StoreError> {
        let shared = shared_rows(connection, cache, &self.events).await?;
        for _ in 1..ATTEMPTS {
            let outcome = self.attempt(connection, &shared).await;
            if !outcome.as_ref().is_err_and(is_conflict) {
                return outcome;
            }
        }
        self.attempt(connection, &shared).await
    }

    async fn attempt(
        &self,
        connection: &mut PgConnection,
        shared: &SharedRowsOf,
    ) -> Result<Committed, StoreError> {
        let mut transaction = begin(connection).await?;
        let booked = self.book(&mut transaction, shared).await;
        finish(transaction, booked).await
    }

    /// Two replicas that settle the same request both lock the balance of its payer first. Should they name different
    /// payers, the primary key of the events lets one of them wait, and try again.
    async fn book(
        &self,
        connection: &mut PgConnection,
        shared: &SharedRowsOf,
    ) -> Result<Committed, StoreError> {
        let (replica, batch) = (self.replica, self.batch);
        let claims = &batch.finished_claims;
        if self.events.is_empty() && batch.answered().next().is_none() {
            let taken = idempotency::lock(connection, claims).await?;
            idempotency::write(connection, claims, &taken, self.now).await?;
            pending::write(connection, replica, batch, &[]).await?;
            return Ok(Committed::default());
        }
        let events = || self.events.iter().copied();
        let finished = events().map(|event| &event.request);
        let answered = batch.answered().map(|pending| &pending.request);
        let (payers, requests): (Vec<Uuid>, Vec<RequestId>) = finished
            .chain(answered)
            .map(|request| (request.payer.get(), request.id))
            .unzip();
        let wanted = slots_of(events());
        books::lock(connection, &wanted, payers.into_iter()).await?;
        let taken = idempotency::lock(connection, claims).await?;
        let forfeits = Forfeits::of(events(), &taken);
        let mut books = books::read(connection, replica, &wanted, requests.into_iter()).await?;
        let slots = std::mem::take(&mut books.slots);
        let booked = corrections::booked(connection, &books).await?;
        let events = events().map(|event| forfeits.instead_of(event));
        let settlement =
            settle(events, batch.answers, &booked, slots).map_err(|_| StoreError::OutOfRange)?;
        let reopened = batch.reopened(&booked);
        pending::write(connection, replica, batch, &reopened).await?;
        let committed = Committed::of(batch, &booked, &settlement).forfeiting(&forfeits);
        let lost = committed.superseded.iter().copied().chain(taken).collect();
        idempotency::write(connection, claims, &lost, self.now).await?;
        self.write(connection, settlement, shared).await?;
        Ok(committed)
    }

    /// Writes what is settled: the events of the batch as one transaction, and one for each entry that is corrected.
    async fn write(
        &self,
        connection: &mut PgConnection,
        settlement: Settlement<'_>,
        shared: &SharedRowsOf,
    ) -> Result<(), StoreError> {
        let mut postings = Vec::new();
        if !settlement.events.is_empty() {
            let events = &settlement.events;
            let transaction = request_rows::insert(connection, events, shared, self.now).await?;
            postings.push((transaction, settlement.postings));
        }
        for (corrects, entry) in settlement.corrections {
            let corrections = entry.corrections.iter();
            let events: Vec<_> = corrections.map(|correction| correction.settled).collect();
            let inserted =
                request_rows::insert_corrections(connection, corrects, &events, shared, self.now);
            postings.push((inserted.await?, entry.postings));
        }
        if postings.is_empty() {
            return Ok(());
        }
        let postings = postings.into_iter().map(|(transaction, postings)| {
            let postings = postings
                .into_postings()
                .map_err(|_| StoreError::OutOfRange)?;
            Ok(Postings {
                transaction,
                postings,
            })
        });
        let entry = Entry {
            postings: postings.collect::<Result<_, StoreError>>()?,
            replica: Some(self.replica),
            slots: settlement.slots,
            balances: settlement.balances,
        };
        books::write(connection, &entry).await
    }
}
