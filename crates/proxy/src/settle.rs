//! The group commit: usage events of many requests become durable together, before the ends of their answers are sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use airouter_billing::event::LossReason;
use airouter_billing::{RequestId, UsageEvent};
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{CommitBatch, PendingRequest, Uncollected};
use airouter_store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::report::Report;

/// Most jobs that wait for a commit; beyond that, requests wait to hand in theirs.
const QUEUE_SIZE: usize = 65_536;
/// Most jobs of one commit.
const BATCH_SIZE: usize = 1_024;
/// Waits between attempts while the database is away.
const RETRY_WAITS: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// The end of an answer waits at most so long for its commit; then the client gets an error instead.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is to be made durable.
enum Job {
    Event(Box<Finished>, Acknowledgement),
    Pending(Box<PendingRequest>, Option<Acknowledgement>),
    Forget(RequestId),
    Flush(Acknowledgement),
}

/// A finished request.
struct Finished {
    event: UsageEvent,
    report: Option<Report>,
}

struct Acknowledgement {
    sender: oneshot::Sender<()>,
    since: Instant,
}

/// The commit did not happen in time, or never will. The event stays queued while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the usage could not be made durable")]
pub struct NotDurable;

/// A commit that is under way. Resolves when it is durable.
pub struct Commit(oneshot::Receiver<()>);

impl Commit {
    /// There is nothing to commit: durable at once.
    pub(crate) fn nothing() -> Self {
        let (sender, receiver) = oneshot::channel();
        // The receiver is held: it can't fail.
        let _ = sender.send(());
        Self(receiver)
    }

    /// Waits until it is durable, at most half a minute.
    pub async fn durable(self) -> Result<(), NotDurable> {
        match tokio::time::timeout(COMMIT_TIMEOUT, self.0).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotDurable),
        }
    }
}

/// Hands jobs to the group commit.
#[derive(Clone)]
pub struct Settler {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queued: AtomicUsize,
    is_stuck: AtomicBool,
}

impl Settler {
    /// A settler and the loop that must run for it.
    pub fn new(
        store: Arc<dyn Store>,
        replica: ReplicaId,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> (Self, CommitLoop) {
        let (sender, receiver) = mpsc::channel(QUEUE_SIZE);
        let shared = Arc::new(Shared::default());
        let settler = Self {
            jobs: sender,
            shared: Arc::clone(&shared),
        };
        (
            settler,
            CommitLoop {
                store,
                replica,
                clock,
                metrics,
                jobs: receiver,
                shared,
            },
        )
    }

    /// Keeps a place in the queue for a request that is being admitted, so that settling it never waits.
    pub fn reserve(&self) -> Result<Place, QueueFull> {
        let permit = self
            .jobs
            .clone()
            .try_reserve_owned()
            .map_err(|_| QueueFull)?;
        Ok(Place {
            permit,
            shared: Arc::clone(&self.shared),
        })
    }

    /// As [`Settler::reserve`], but waits for a place. `None` when nothing is committed any more.
    pub async fn wait_for_place(&self) -> Option<Place> {
        let permit = self.jobs.clone().reserve_owned().await.ok()?;
        Some(Place {
            permit,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Lets the next commit carry a request in flight; nobody waits for it. Whether there was room.
    pub fn note_in_flight(&self, pending: PendingRequest) -> bool {
        let is_sent = self
            .jobs
            .try_send(Job::Pending(Box::new(pending), None))
            .is_ok();
        if is_sent {
            self.shared.queued.fetch_add(1, Ordering::Relaxed);
        }
        is_sent
    }

    /// Waits until everything that was handed in before is committed.
    pub async fn flush(&self) {
        let (acknowledgement, commit) = acknowledgement();
        if let Some(place) = self.wait_for_place().await {
            place.send(Job::Flush(acknowledgement));
            if commit.durable().await.is_err() {
                tracing::error!("what was served last could not be made durable");
            }
        }
    }

    /// How many jobs wait.
    pub fn queued(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Whether the database has refused or failed the last commit: nothing new should be admitted.
    pub fn is_stuck(&self) -> bool {
        self.shared.is_stuck.load(Ordering::Relaxed)
    }
}

/// More requests run than can be settled: nothing more is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait to be settled")]
pub struct QueueFull;

/// A place in the queue of the group commit.
pub struct Place {
    permit: mpsc::OwnedPermit<Job>,
    shared: Arc<Shared>,
}

impl Place {
    /// Commits a finished request, and tells of it when that is done.
    pub(crate) fn settle(self, event: UsageEvent, report: Option<Report>) -> Commit {
        let (acknowledgement, commit) = acknowledgement();
        let finished = Box::new(Finished { event, report });
        self.send(Job::Event(finished, acknowledgement));
        commit
    }

    /// Commits that a request's usage is to be found out.
    pub fn settle_later(self, pending: PendingRequest) -> Commit {
        let (acknowledgement, commit) = acknowledgement();
        self.send(Job::Pending(Box::new(pending), Some(acknowledgement)));
        commit
    }

    /// Forgets a pending request that was not billed.
    pub fn forget(self, request: RequestId) {
        self.send(Job::Forget(request));
    }

    fn send(self, job: Job) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        self.permit.send(job);
    }
}

fn acknowledgement() -> (Acknowledgement, Commit) {
    let (sender, receiver) = oneshot::channel();
    (
        Acknowledgement {
            sender,
            since: Instant::now(),
        },
        Commit(receiver),
    )
}

/// The loop that commits. It ends when every [`Settler`] is gone and the queue is empty.
pub struct CommitLoop {
    store: Arc<dyn Store>,
    replica: ReplicaId,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    jobs: mpsc::Receiver<Job>,
    shared: Arc<Shared>,
}

impl CommitLoop {
    /// Commits until every settler is gone.
    pub async fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH_SIZE);
        loop {
            let count = self.jobs.recv_many(&mut jobs, BATCH_SIZE).await;
            if count == 0 {
                return;
            }
            let Gathered {
                batch,
                waiting,
                reports,
            } = gather(jobs.drain(..));
            self.metrics.commit_batch(batch.events.len());
            let mut refused = HashSet::new();
            self.commit(&batch, &mut refused).await;
            for Waiting {
                request,
                acknowledgement,
            } in waiting
            {
                if request.is_some_and(|request| refused.contains(&request)) {
                    // Dropped unsent: whoever waits learns that it is not durable.
                    continue;
                }
                self.metrics.settled_after(acknowledgement.since.elapsed());
                // Who waited may have gone; the commit stands all the same.
                let _ = acknowledgement.sender.send(());
            }
            for (event, report) in batch.events.iter().zip(reports) {
                if let Some(report) = report.filter(|_| !refused.contains(&event.request.id)) {
                    report.tell(event, &self.metrics);
                }
            }
            self.shared.queued.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Commits a batch, however often it takes while the database is away. A batch that it refuses is taken apart, so
    /// that one bad event does not stop the others; what is refused alone is written to the log in full, and whoever waits for it learns that it is not durable.
    async fn commit(&self, batch: &CommitBatch, refused: &mut HashSet<RequestId>) {
        match self.commit_patiently(batch).await {
            Ok(uncollected) => {
                for Uncollected { request, amount } in uncollected {
                    tracing::warn!(%request, %amount, "a price was not covered");
                    self.metrics.loss(LossReason::Uncollected, amount);
                }
            }
            Err(error) => {
                let parts = split(batch);
                if parts.len() > 1 {
                    tracing::error!(%error, "the database refuses a batch; its parts are committed one by one");
                    for part in parts {
                        Box::pin(self.commit(&part, refused)).await;
                    }
                    return;
                }
                // All of it, so that it can be booked by hand: nothing in it is secret.
                tracing::error!(%error, refused = ?batch, "the database refuses a settlement");
                self.metrics.settlement_refused();
                refused.extend(batch.events.iter().map(|event| event.request.id));
                refused.extend(batch.pending.iter().map(|pending| pending.request.id));
            }
        }
    }

    async fn commit_patiently(&self, batch: &CommitBatch) -> Result<Vec<Uncollected>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut waits = RETRY_WAITS.into_iter();
        loop {
            match self
                .store
                .commit(self.replica, batch, self.clock.now())
                .await
            {
                Ok(uncollected) => {
                    self.shared.is_stuck.store(false, Ordering::Relaxed);
                    return Ok(uncollected);
                }
                Err(error) if error.is_transient() => {
                    self.shared.is_stuck.store(true, Ordering::Relaxed);
                    tracing::error!(%error, "a commit failed and is tried again");
                    let last = RETRY_WAITS[RETRY_WAITS.len() - 1];
                    tokio::time::sleep(waits.next().unwrap_or(last)).await;
                }
                Err(error) => {
                    // It answers: what it refuses is no reason to refuse everybody.
                    self.shared.is_stuck.store(false, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
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

fn gather(jobs: impl Iterator<Item = Job>) -> Gathered {
    let mut gathered = Gathered::default();
    for job in jobs {
        let (request, acknowledgement) = match job {
            Job::Event(finished, acknowledgement) => {
                let Finished { event, report } = *finished;
                let request = event.request.id;
                gathered.batch.events.push(event);
                gathered.reports.push(report);
                (Some(request), Some(acknowledgement))
            }
            Job::Pending(pending, acknowledgement) => {
                let request = pending.request.id;
                gathered.batch.pending.push(*pending);
                (Some(request), acknowledgement)
            }
            Job::Forget(request) => {
                gathered.batch.forgotten.push(request);
                (None, None)
            }
            Job::Flush(acknowledgement) => (None, Some(acknowledgement)),
        };
        let waits = |acknowledgement| Waiting {
            request,
            acknowledgement,
        };
        gathered.waiting.extend(acknowledgement.map(waits));
    }
    gathered
}

/// A batch of each of its jobs.
fn split(batch: &CommitBatch) -> Vec<CommitBatch> {
    let pending = batch.pending.iter().map(|pending| CommitBatch {
        pending: vec![pending.clone()],
        ..CommitBatch::default()
    });
    let events = batch.events.iter().map(|event| CommitBatch {
        events: vec![event.clone()],
        ..CommitBatch::default()
    });
    let forgotten = CommitBatch {
        forgotten: batch.forgotten.clone(),
        ..CommitBatch::default()
    };
    pending
        .chain(events)
        .chain([forgotten])
        .filter(|part| !part.is_empty())
        .collect()
}
