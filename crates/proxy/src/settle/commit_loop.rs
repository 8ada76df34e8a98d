//! The loop that commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use airouter_billing::RequestId;
use airouter_store::idempotency::FinishedClaim;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::CommitBatch;
use tokio::sync::mpsc;

use super::books::{Unwritten, write};
use super::spooled::{self, SpooledBatch};
use super::{Acknowledgement, Finished, Job, SettlerParts, Shared};
use crate::report::Report;

/// Most jobs of one commit.
const BATCH_SIZE: usize = 1_024;
/// Most bytes of answers that are kept for repeats in one commit, beyond the last one's: more would keep others waiting,
/// and not fit into a record of the spool.
const KEPT_BYTES: usize = 2 << 20;
/// A commit that takes longer is one of a database that is away.
const PATIENCE: Duration = Duration::from_secs(2);
/// Waits between attempts while neither the database nor the disk takes anything.
const STUCK_WAITS: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Commits what is handed to its [`super::Settler`]. It ends when every settler is gone and the queue is empty.
pub struct CommitLoop {
    parts: Arc<SettlerParts>,
    jobs: mpsc::Receiver<Job>,
    shared: Arc<Shared>,
}

impl CommitLoop {
    pub(super) fn new(
        parts: Arc<SettlerParts>,
        jobs: mpsc::Receiver<Job>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            parts,
            jobs,
            shared,
        }
    }

    /// Commits until every settler is gone.
    pub async fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH_SIZE);
        loop {
            let count = self.jobs.recv_many(&mut jobs, BATCH_SIZE).await;
            if count == 0 {
                return;
            }
            for (replica, gathered) in gather(jobs.drain(..), self.parts.replica.id()) {
                self.commit(replica, gathered).await;
            }
            self.shared.queued.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Makes a batch durable and tells who waits for it.
    async fn commit(&self, replica: ReplicaId, gathered: Gathered) {
        let Gathered {
            batch,
            waiting,
            reports,
            kept_bytes: _,
        } = gathered;
        let metrics = &self.parts.metrics;
        if !batch.events.is_empty() {
            metrics.commit_batch(batch.events.len());
        }
        let spooled = SpooledBatch { replica, batch };
        let unwritten = self.make_durable(&spooled).await;
        for Waiting {
            request,
            acknowledgement,
        } in waiting
        {
            if request.is_some_and(|request| unwritten.contains(request)) {
                // Dropped unsent: whoever waits learns that it is not durable.
                continue;
            }
            metrics.settled_after(acknowledgement.since.elapsed());
            // Who waited may have gone; the commit stands all the same.
            let _ = acknowledgement.sender.send(());
        }
        for (event, report) in spooled.batch.events.iter().zip(reports) {
            if let Some(report) = report.filter(|_| !unwritten.contains(event.request.id)) {
                report.tell(event, metrics);
            }
        }
    }

    /// Commits a batch, or spools it while the database is away; whichever takes it first. Batches that wait in the spool
    /// go before those that come later.
    async fn make_durable(&self, spooled: &SpooledBatch) -> Unwritten {
        if spooled.batch.is_empty() {
            return Unwritten::default();
        }
        let mut waits = STUCK_WAITS.into_iter();
        loop {
            if self.parts.spool.is_empty() {
                match write(&self.parts, spooled, PATIENCE).await {
                    Ok(unwritten) => {
                        self.set_stuck(false);
                        return unwritten;
                    }
                    Err(error) => tracing::warn!(%error, "a commit failed: its usage is spooled"),
                }
            }
            match spooled::append(&self.parts.spool, spooled).await {
                Ok(()) => {
                    self.set_stuck(false);
                    self.shared.spooled.notify_one();
                    return Unwritten::default();
                }
                Err(error) => {
                    self.set_stuck(true);
                    tracing::error!(%error, "neither the database nor the disk takes usage");
                    let last = STUCK_WAITS[STUCK_WAITS.len() - 1];
                    tokio::time::sleep(waits.next().unwrap_or(last)).await;
                }
            }
        }
    }

    fn set_stuck(&self, is_stuck: bool) {
        self.shared.is_stuck.store(is_stuck, Ordering::Relaxed);
    }
}

/// Who waits, and for which request.
struct Waiting {
    request: Option<RequestId>,
    acknowledgement: Acknowledgement,
}

/// The jobs of one commit.
#[derive(Default)]
struct Gathered {
    batch: CommitBatch,
    waiting: Vec<Waiting>,
    /// One for each of the batch's events.
    reports: Vec<Option<Report>>,
    /// Bytes of answers that are kept for repeats.
    kept_bytes: usize,
}

/// The jobs by the number of this process that their charges belong to: one, but for a moment after it began anew.
/// What is not charged to leases belongs to the `present` number, which comes last.
fn gather(
    jobs: impl Iterator<Item = Job>,
    present: ReplicaId,
) -> impl Iterator<Item = (ReplicaId, Gathered)> {
    let mut by_replica: BTreeMap<ReplicaId, Vec<Gathered>> = BTreeMap::new();
    for job in jobs {
        let owner = match &job {
            Job::Event(finished, _) => finished.replica,
            Job::Pending(..) | Job::Forget(_) | Job::Flush(_) => present,
        };
        let parts = by_replica.entry(owner).or_default();
        match parts.last_mut().filter(|part| part.kept_bytes < KEPT_BYTES) {
            Some(part) => part.add(job),
            None => {
                let mut part = Gathered::default();
                part.add(job);
                parts.push(part);
            }
        }
    }
    by_replica
        .into_iter()
        .flat_map(|(replica, parts)| parts.into_iter().map(move |part| (replica, part)))
}

impl Gathered {
    fn add(&mut self, job: Job) {
        let (request, acknowledgement) = match job {
            Job::Event(finished, acknowledgement) => {
                let Finished {
                    event,
                    report,
                    claim,
                    ..
                } = *finished;
                let request = event.request.id;
                self.batch.events.push(event);
                self.reports.push(report);
                self.keep(claim);
                (Some(request), Some(acknowledgement))
            }
            Job::Pending(pending, claim, acknowledgement) => {
                let request = pending.request.id;
                self.batch.pending.push(*pending);
                self.keep(claim);
                (Some(request), acknowledgement)
            }
            Job::Forget(request) => {
                self.batch.forgotten.push(request);
                (None, None)
            }
            Job::Flush(acknowledgement) => (None, Some(acknowledgement)),
        };
        let waits = |acknowledgement| Waiting {
            request,
            acknowledgement,
        };
        self.waiting.extend(acknowledgement.map(waits));
    }

    fn keep(&mut self, claim: Option<FinishedClaim>) {
        let answer = claim.as_ref().and_then(|claim| claim.answer.as_ref());
        self.kept_bytes += answer.map_or(0, |answer| answer.as_bytes().len());
        self.batch.finished_claims.extend(claim);
    }
}
