//! Claims and releases keys in the database: all that wait at a time, in one statement. A key that was claimed is never
//! forgotten: whoever holds it finishes it, or it is released.

use std::sync::Arc;
use std::time::Duration;

use airouter_auth::EncryptionKeys;
use airouter_store::idempotency::{Claim, Claimed, FinishedClaim, NewClaim};
use airouter_store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::replica::Replica;

/// Most keys that are held or waited for.
const QUEUE_SIZE: usize = 65_536;
/// Most that are claimed or released together.
const MOST_TOGETHER: usize = 256;
/// Most that a request waits for its key.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most that the telling of a failure waits until its key is free.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);
/// Whether a claim took effect that failed in the middle shows when the database has given it up: after that it is
/// released, and once more for what was on its way for long.
const DOUBT_WAITS: [Duration; 2] = [Duration::from_secs(6), Duration::from_secs(60)];
/// Between attempts to release while the database is away.
const RETRY_EVERY: Duration = Duration::from_secs(1);

enum Job {
    Claim(Box<Asked>),
    Release(Claim, Option<oneshot::Sender<()>>),
}

struct Asked {
    claim: NewClaim,
    place: mpsc::OwnedPermit<Job>,
    answer: oneshot::Sender<Standing>,
}

/// Whether a request has the key that it came with.
pub(crate) enum Standing {
    /// It has: it runs.
    Held(HeldKey),
    /// Another one has it.
    Taken(Claimed),
}

/// The database did not say whose a key is: the request is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key could not be claimed")]
pub(crate) struct NotClaimed;

/// Where keys are claimed.
#[derive(Clone)]
pub(crate) struct ClaimKeeper {
    jobs: mpsc::Sender<Job>,
    encryption: Arc<EncryptionKeys>,
}

impl ClaimKeeper {
    /// A keeper, and what must run for it.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        replica: Arc<Replica>,
        clock: Arc<dyn Clock>,
        encryption: Arc<EncryptionKeys>,
    ) -> (Self, ClaimLoop) {
        let (sender, jobs) = mpsc::channel(QUEUE_SIZE);
        let keeper = Self {
            jobs: sender,
            encryption: Arc::clone(&encryption),
        };
        let claim_loop = ClaimLoop {
            store,
            replica,
            clock,
            encryption,
            jobs,
            doubts: Vec::new(),
        };
        (keeper, claim_loop)
    }

    /// What opens kept answers.
    pub(crate) fn encryption(&self) -> &EncryptionKeys {
        &self.encryption
    }

    /// Asks for a key. One that is granted to somebody who has left is released.
    pub(crate) async fn ask(&self, claim: NewClaim) -> Result<Standing, NotClaimed> {
        let place = self.jobs.clone().try_reserve_owned();
        let place = place.map_err(|_| NotClaimed)?;
        let (answer, answered) = oneshot::channel();
        let asked = Box::new(Asked {
            claim,
            place,
            answer,
        });
        self.jobs
            .try_send(Job::Claim(asked))
            .map_err(|_| NotClaimed)?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(standing)) => Ok(standing),
            Ok(Err(_)) | Err(_) => Err(NotClaimed),
        }
    }
}

/// A key that a request holds. Dropping it releases the key: the request came to nothing.
pub(crate) struct HeldKey {
    claim: Claim,
    /// `None` when it is finished or released.
    place: Option<mpsc::OwnedPermit<Job>>,
    encryption: Arc<EncryptionKeys>,
}

impl HeldKey {
    /// The key, and whose it is.
    pub(crate) fn claim(&self) -> Claim {
        self.claim
    }

    /// The request has ended; what is returned is committed with its usage. `answer` is what repeats get.
    pub(crate) fn finish(mut self, answer: Option<&[u8]>) -> FinishedClaim {
        self.place = None;
        super::finished(&self.encryption, self.claim, answer)
    }

    /// The request came to nothing. Waits until the key is free, so that a repeat is not told that it runs; not for long,
    /// for the database may be away.
    pub(crate) async fn release(mut self) {
        let (done, is_done) = oneshot::channel();
        if let Some(place) = self.place.take() {
            place.send(Job::Release(self.claim, Some(done)));
            // Late or not, it will be released.
            let _ = timeout(RELEASE_PATIENCE, is_done).await;
        }
    }
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.send(Job::Release(self.claim, None));
        }
    }
}

/// A key to be released again.
struct Doubt {
    claim: Claim,
    due: Instant,
    /// How often it was released.
    rounds: usize,
}

/// Does the work of a [`ClaimKeeper`].
pub(crate) struct ClaimLoop {
    store: Arc<dyn Store>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    encryption: Arc<EncryptionKeys>,
    jobs: mpsc::Receiver<Job>,
    doubts: Vec<Doubt>,
}

impl ClaimLoop {
    /// Works until `stop`; then it releases what is still to be released, as far as the database is there.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut jobs = Vec::with_capacity(MOST_TOGETHER);
        loop {
            let next_doubt = self.doubts.iter().map(|doubt| doubt.due).min();
            let far = Instant::now() + DOUBT_WAITS[1];
            tokio::select! {
                () = stop.cancelled() => return self.finish().await,
                _ = self.jobs.recv_many(&mut jobs, MOST_TOGETHER) => {}
                () = sleep_until(next_doubt.unwrap_or(far)) => {}
            }
            self.serve(&mut jobs).await;
        }
    }

    async fn finish(mut self) {
        let now = Instant::now();
        self.doubts.iter_mut().for_each(|doubt| doubt.due = now);
        let mut jobs = Vec::new();
        while let Ok(job) = self.jobs.try_recv() {
            jobs.push(job);
        }
        self.serve(&mut jobs).await;
    }

    async fn serve(&mut self, jobs: &mut Vec<Job>) {
        let (mut asked, mut released, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                // Who has left is not asked for.
                Job::Claim(one) if one.answer.is_closed() => {}
                Job::Claim(one) => asked.push(*one),
                Job::Release(claim, done) => {
                    released.push((claim, DOUBT_WAITS.len()));
                    waiting.extend(done);
                }
            }
        }
        let now = Instant::now();
        let due = self
            .doubts
            .extract_if(.., |doubt| doubt.due <= now)
            .take(MOST_TOGETHER);
        released.extend(due.map(|doubt| (doubt.claim, doubt.rounds)));
        self.release(released, waiting).await;
        self.claim(asked).await;
    }

    /// Releases keys; each with how often it was in doubt.
    async fn release(&mut self, released: Vec<(Claim, usize)>, waiting: Vec<oneshot::Sender<()>>) {
        if released.is_empty() {
            return;
        }
        let claims: Vec<Claim> = released.iter().map(|(claim, _)| *claim).collect();
        match timeout(PATIENCE, self.store.release(&claims)).await {
            Ok(Ok(())) => {
                for (claim, rounds) in released {
                    self.doubt(claim, rounds + 1);
                }
                for done in waiting {
                    // Who waited may have left.
                    let _ = done.send(());
                }
            }
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::warn!(%error, "keys could not be released; it is tried again");
                }
                for (claim, rounds) in released {
                    self.doubt_until(claim, rounds, RETRY_EVERY);
                }
            }
        }
    }

    async fn claim(&mut self, asked: Vec<Asked>) {
        if asked.is_empty() {
            return;
        }
        let claims: Vec<NewClaim> = asked.iter().map(|one| one.claim).collect();
        let claim = self
            .store
            .claim(self.replica.id(), &claims, self.clock.now());
        match timeout(PATIENCE, claim).await {
            Ok(Ok(answers)) => {
                for (one, claimed) in asked.into_iter().zip(answers) {
                    self.tell(one, claimed);
                }
            }
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    Ok(Ok(_)) => return,
                    Err(elapsed) => StoreError::InDoubt(Box::new(elapsed)),
                };
                tracing::warn!(%error, "keys could not be claimed: their requests are refused");
                // Whoever asked is told by the end of its channel.
                for claim in claims {
                    let claim = Claim {
                        slot: claim.slot,
                        request: claim.request,
                    };
                    self.doubt(claim, 0);
                }
            }
        }
    }

    fn tell(&self, one: Asked, claimed: Claimed) {
        let Asked {
            claim,
            place,
            answer,
        } = one;
        let standing = match claimed {
            Claimed::Granted => Standing::Held(HeldKey {
                claim: Claim {
                    slot: claim.slot,
                    request: claim.request,
                },
                place: Some(place),
                encryption: Arc::clone(&self.encryption),
            }),
            taken => Standing::Taken(taken),
        };
        // Nobody may wait any more: then the key is dropped here, and so released.
        let _ = answer.send(standing);
    }

    fn doubt(&mut self, claim: Claim, rounds: usize) {
        if let Some(wait) = DOUBT_WAITS.get(rounds) {
            self.doubt_until(claim, rounds, *wait);
        }
    }

    fn doubt_until(&mut self, claim: Claim, rounds: usize, wait: Duration) {
        if self.doubts.len() >= QUEUE_SIZE {
            tracing::error!(request = %claim.request, "too many keys to be released; this one is free when this replica has ended");
            return;
        }
        self.doubts.push(Doubt {
            claim,
            due: Instant::now() + wait,
            rounds,
        });
    }
}
