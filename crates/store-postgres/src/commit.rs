//! The group commit: the hot path. One transaction, one flush to disk, and a fixed number of statements for any number
//! of events, on a connection that does nothing else.

use std::collections::{BTreeSet, HashSet};

use airouter_billing::batch::{self, SettledEvent};
use airouter_billing::{Nanos, Outcome, RequestId, Timestamp, UsageEvent};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{
    CommitBatch, Committed, PendingRequest, RefusedEvent, Settlements, Uncollected,
};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::books::{self, Entry, Postings};
use crate::connection::is_conflict;
use crate::dedicated::{begin, bounded, finish};
use crate::open::PostgresStore;
use crate::shared_rows::{SharedRowCache, SharedRows, shared_rows};
use crate::{pending, refused, request_rows};

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
        let batch = Batch::of(replica, batch, now);
        let mut lent = self.commits.lend().await?;
        if lent.is_new() {
            // Behind a new connection may be an older state of the database, with other numbers.
            self.shared_rows.clear();
        }
        let outcome = bounded(batch.commit(&mut lent, &self.shared_rows)).await;
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

    async fn refused(&self, limit: u32) -> Result<Vec<UsageEvent>, StoreError> {
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
}

/// A batch on its way.
struct Batch<'a> {
    replica: ReplicaId,
    /// The first of each id.
    events: Vec<&'a UsageEvent>,
    pending: &'a [PendingRequest],
    /// Requests that are not pending after this.
    over: BTreeSet<RequestId>,
    now: Timestamp,
}

impl<'a> Batch<'a> {
    fn of(replica: ReplicaId, batch: &'a CommitBatch, now: Timestamp) -> Self {
        let mut seen = HashSet::with_capacity(batch.events.len());
        let events = batch
            .events
            .iter()
            .filter(|event| seen.insert(event.request.id))
            .collect();
        let settled = batch.events.iter().map(|event| event.request.id);
        Self {
            replica,
            events,
            pending: &batch.pending,
            over: settled.chain(batch.forgotten.iter().copied()).collect(),
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
        shared: &[SharedRows],
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
        shared: &[SharedRows],
    ) -> Result<Committed, StoreError> {
        if self.events.is_empty() {
            pending::write(connection, self.replica, &self.over, self.pending).await?;
            return Ok(Committed::default());
        }
        let events = || self.events.iter().copied();
        let wanted = batch::slots_of(events());
        let payers = events().map(|event| event.request.payer.get());
        let requests = events().map(|event| event.request.id);
        books::lock(connection, &wanted, payers).await?;
        let books = books::read(connection, self.replica, &wanted, requests).await?;
        let settlement = batch::settle(events(), &books.settled, books.slots)
            .map_err(|_| StoreError::OutOfRange)?;
        pending::write(connection, self.replica, &self.over, self.pending).await?;
        let mut committed = Committed::default();
        if !settlement.events.is_empty() {
            let open = events().zip(shared.iter().copied());
            let open = open.filter(|(event, _)| !books.settled.contains(&event.request.id));
            let rows = settlement.events.iter().zip(open.map(|(_, shared)| shared));
            let transaction = request_rows::insert(connection, rows, self.now).await?;
            let postings = settlement
                .postings
                .into_postings()
                .map_err(|_| StoreError::OutOfRange)?;
            let entry = Entry {
                postings: Some(Postings {
                    transaction,
                    postings: &postings,
                }),
                replica: Some(self.replica),
                slots: settlement.slots,
                balances: settlement.balances,
            };
            books::write(connection, &entry).await?;
            committed.uncollected = settlement
                .events
                .iter()
                .filter_map(uncollected_of)
                .collect();
        }
        committed.superseded = events()
            .filter(|event| event.outcome == Outcome::Charged)
            .map(|event| event.request.id)
            .filter(|request| books.lost.contains(request))
            .collect();
        Ok(committed)
    }
}

fn uncollected_of(settled: &SettledEvent<'_>) -> Option<Uncollected> {
    let amount = settled.covered.uncollected;
    (amount > Nanos::ZERO).then_some(Uncollected {
        request: settled.event.request.id,
        amount,
    })
}
