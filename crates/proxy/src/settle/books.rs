//! Writing a batch into the database's books: within a bounded time, and so that one bad event does not stop the others.

use std::collections::HashSet;
use std::time::Duration;

use airouter_billing::RequestId;
use airouter_billing::event::LossReason;
use airouter_store::StoreError;
use airouter_store::settlements::{CommitBatch, Committed, Corrected, RefusedEvent, Uncollected};

use super::SettlerParts;
use super::spooled::SpooledBatch;

/// To set an event aside takes no longer, or the database is away.
const SET_ASIDE_PATIENCE: Duration = Duration::from_secs(2);

/// The requests of a batch that were not written as they were meant: the database refused them, or another replica
/// booked them first as a loss.
#[derive(Debug, Default)]
pub(super) struct Unwritten(HashSet<RequestId>);

impl Unwritten {
    pub(super) fn contains(&self, request: RequestId) -> bool {
        self.0.contains(&request)
    }
}

/// Commits a batch. One that the database refuses is taken apart, so that one bad event does not stop the others; what
/// is refused alone is set aside. A commit that takes longer than `patience` counts as failed. An error means that the database is away, and that all of it is to be sent again:
/// what was written already is ignored then.
pub(super) async fn write(
    parts: &SettlerParts,
    spooled: &SpooledBatch,
    patience: Duration,
) -> Result<Unwritten, StoreError> {
    let mut unwritten = Unwritten::default();
    let error = match commit(parts, spooled, patience).await {
        Ok(committed) => {
            note(parts, committed, &mut unwritten);
            return Ok(unwritten);
        }
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => error,
    };
    tracing::error!(%error, "the database refuses a batch; its parts are committed one by one");
    for part in split(&spooled.batch) {
        let part = SpooledBatch {
            replica: spooled.replica,
            batch: part,
        };
        match commit(parts, &part, patience).await {
            Ok(committed) => note(parts, committed, &mut unwritten),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => set_aside(parts, part, &error, &mut unwritten).await?,
        }
    }
    Ok(unwritten)
}

async fn commit(
    parts: &SettlerParts,
    spooled: &SpooledBatch,
    patience: Duration,
) -> Result<Committed, StoreError> {
    let commit = parts
        .store
        .commit(spooled.replica, &spooled.batch, parts.clock.now());
    match tokio::time::timeout(patience, commit).await {
        Ok(committed) => committed.inspect(|_| parts.committed.note(&spooled.batch)),
        Err(elapsed) => Err(StoreError::InDoubt(Box::new(elapsed))),
    }
}

fn note(parts: &SettlerParts, committed: Committed, unwritten: &mut Unwritten) {
    for Uncollected { request, amount } in committed.uncollected {
        tracing::warn!(%request, %amount, "a price was not covered");
        parts.metrics.loss(LossReason::Uncollected, amount);
    }
    for corrected in committed.corrected {
        let Corrected {
            request,
            reason,
            reversed,
            charged,
        } = corrected;
        tracing::warn!(
            %request, loss = reason.name(), %reversed, %charged,
            "another replica had booked this request as a loss; its client had its answer, and is billed"
        );
        parts.metrics.loss_corrected(reason);
    }
    for request in committed.superseded {
        tracing::error!(%request, "another replica took this one for dead and booked a request of it as a loss");
        unwritten.0.insert(request);
    }
}

/// Keeps what the database refuses where the operator finds it: an event in the database itself, anything in the log.
async fn set_aside(
    parts: &SettlerParts,
    part: SpooledBatch,
    error: &StoreError,
    unwritten: &mut Unwritten,
) -> Result<(), StoreError> {
    // All of it, so that it can be booked by hand: nothing in it is secret.
    tracing::error!(%error, refused = ?part.batch, "the database refuses a settlement");
    parts.metrics.settlement_refused();
    unwritten
        .0
        .extend(part.batch.events.iter().map(|event| event.request.id));
    unwritten
        .0
        .extend(part.batch.pending.iter().map(|pending| pending.request.id));
    for event in part.batch.events {
        let refused = RefusedEvent {
            event,
            answers: part.batch.answers,
            reason: error.to_string(),
        };
        let kept = parts
            .store
            .set_aside(part.replica, &refused, parts.clock.now());
        match tokio::time::timeout(SET_ASIDE_PATIENCE, kept).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_transient() => return Err(error),
            Ok(Err(error)) => {
                tracing::error!(%error, request = %refused.event.request.id, "a refused event is in the log only");
            }
            Err(elapsed) => return Err(StoreError::InDoubt(Box::new(elapsed))),
        }
    }
    Ok(())
}

/// A batch of each of its jobs.
fn split(batch: &CommitBatch) -> Vec<CommitBatch> {
    let part = || CommitBatch {
        answers: batch.answers,
        ..CommitBatch::default()
    };
    let claims_of = |request: RequestId| {
        let claims = batch.finished_claims.iter();
        let own = claims.filter(|finished| finished.claim.request == request);
        own.cloned().collect()
    };
    let pending = batch.pending.iter().map(|pending| CommitBatch {
        pending: vec![pending.clone()],
        finished_claims: claims_of(pending.request.id),
        ..part()
    });
    let events = batch.events.iter().map(|event| CommitBatch {
        events: vec![event.clone()],
        finished_claims: claims_of(event.request.id),
        ..part()
    });
    let forgotten = CommitBatch {
        forgotten: batch.forgotten.clone(),
        ..part()
    };
    pending
        .chain(events)
        .chain([forgotten])
        .filter(|part| !part.is_empty())
        .collect()
}
