//! The group commit: usage events of many requests become durable together, before the ends of their answers are sent.
//! While the database is away they become durable on the local disk instead, and land when it is back.

mod books;
mod commit_loop;
mod landing;
mod spooled;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use airouter_billing::{RequestId, UsageEvent};
use airouter_spool::Spool;
use airouter_store::Store;
use airouter_store::idempotency::FinishedClaim;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::PendingRequest;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Clock;
use crate::history::Committed;
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::report::Report;

pub use commit_loop::CommitLoop;
pub use landing::Landing;

/// Most jobs that wait for a commit; beyond that, requests wait to hand in theirs.
const QUEUE_SIZE: usize = 65_536;
/// The end of an answer waits at most so long for its commit; then the client gets an error instead.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is to be made durable.
enum Job {
    Event(Box<Finished>, Acknowledgement),
    Pending(
        Box<PendingRequest>,
        Option<FinishedClaim>,
        Option<Acknowledgement>,
    ),
    Forget(RequestId),
    Flush(Acknowledgement),
}

/// A finished request.
struct Finished {
    event: UsageEvent,
    /// Under which number of this process it was held: its charges come out of those leases.
    replica: ReplicaId,
    report: Option<Report>,
    /// The key that it came with.
    claim: Option<FinishedClaim>,
}

struct Acknowledgement {
    sender: oneshot::Sender<()>,
    since: Instant,
}

/// The commit did not happen in time, or never will. What is only late stays queued while the process lives.
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
    /// Something was spooled.
    spooled: Notify,
}

/// What settling needs.
pub struct SettlerParts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Where events wait while the database is away.
    pub spool: Arc<Spool>,
    /// This process among the replicas.
    pub replica: Arc<Replica>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What must be found in the database from its commit on.
    pub committed: Arc<Committed>,
}

impl Settler {
    /// A settler, and what must run for it.
    pub fn new(parts: SettlerParts) -> (Self, CommitLoop, Landing) {
        let (sender, receiver) = mpsc::channel(QUEUE_SIZE);
        let shared = Arc::new(Shared::default());
        let settler = Self {
            jobs: sender,
            shared: Arc::clone(&shared),
        };
        let parts = Arc::new(parts);
        let landing = Landing::new(Arc::clone(&parts), Arc::clone(&shared));
        (settler, CommitLoop::new(parts, receiver, shared), landing)
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
            .try_send(Job::Pending(Box::new(pending), None, None))
            .is_ok();
        if is_sent {
            self.shared.queued.fetch_add(1, Ordering::Relaxed);
        }
        is_sent
    }

    /// Waits until everything that was handed in before is durable.
    pub async fn flush(&self) -> Result<(), NotDurable> {
        let (acknowledgement, commit) = acknowledgement();
        if let Some(place) = self.wait_for_place().await {
            place.send(Job::Flush(acknowledgement));
            commit.durable().await?;
        }
        Ok(())
    }

    /// How many jobs wait.
    pub fn queued(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Whether neither the database nor the local disk takes what is served: nothing new may be admitted.
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
    pub(crate) fn settle(
        self,
        replica: ReplicaId,
        event: UsageEvent,
        report: Option<Report>,
        claim: Option<FinishedClaim>,
    ) -> Commit {
        let (acknowledgement, commit) = acknowledgement();
        let finished = Box::new(Finished {
            event,
            replica,
            report,
            claim,
        });
        self.send(Job::Event(finished, acknowledgement));
        commit
    }

    /// Commits that a request's usage is to be found out.
    pub fn settle_later(self, pending: PendingRequest, claim: Option<FinishedClaim>) -> Commit {
        let (acknowledgement, commit) = acknowledgement();
        self.send(Job::Pending(
            Box::new(pending),
            claim,
            Some(acknowledgement),
        ));
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
