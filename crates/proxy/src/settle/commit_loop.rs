//! The loop that commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use airouter_billing::RequestId;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::CommitBatch;
use tokio::sync::mpsc;

use super::books::{Unwritten, write};
use super::spooled::{self, SpooledBatch};
use super::{Acknowledgement, Finished, Job, SettlerParts, Shared};
use crate::report::Report;

/// Most jobs of one commit.
const BATCH_SIZE: usize = 1_024;
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
}

/// The jobs by the number of this process that their charges belong to: one, but for a moment after it began anew.
/// What is not charged to leases belongs to the `present` number, which comes last.
fn gather(
    jobs: impl Iterator<Item = Job>,
    present: ReplicaId,
) -> impl Iterator<Item = (ReplicaId, Gathered)> {
    let mut by_replica: BTreeMap<ReplicaId, Gathered> = BTreeMap::new();
    for job in jobs {
        let owner = match &job {
            Job::Event(finished, _) => finished.replica,
            Job::Pending(..) | Job::Forget(_) | Job::Flush(_) => present,
        };
        by_replica.entry(owner).or_default().add(job);
    }
    by_replica.into_iter()
}

impl Gathered {
    fn add(&mut self, job: Job) {
        let (request, acknowledgement) = match job {
            Job::Event(finished, acknowledgement) => {
                let Finished { event, report, .. } = *finished;
                let request = event.request.id;
                self.batch.events.push(event);
                self.reports.push(report);
                (Some(request), Some(acknowledgement))
            }
            Job::Pending(pending, acknowledgement) => {
                let request = pending.request.id;
                self.batch.pending.push(*pending);
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
}
