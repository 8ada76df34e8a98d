//! Replicas that share their counters: over a board in memory, and over Redis.

mod memory_board;
mod one_replica;
mod outages;
mod redis_server;
mod rule;
mod running;
mod three_replicas;

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::Board;
use crate::publisher::{Publisher, Timings};
use crate::{Clock, LimitKey, Limiter, Moment, RateLimits};

const KEY: LimitKey = LimitKey::Key([7; 16]);
const ACCOUNT: LimitKey = LimitKey::Account([7; 16]);

/// Patient, so that a busy machine does not look like a board that is away; quick, so that tests need not wait.
const PATIENT: Timings = Timings {
    longest_wait: Duration::from_secs(20),
    post_every: Duration::from_millis(1),
    beat_every: Duration::from_millis(20),
};

/// A clock that tests set; all replicas have it.
#[derive(Clone, Debug)]
struct TestClock(Arc<AtomicU64>);

/// A limiter, and the work for it.
struct Replica {
    limiter: Limiter,
    stop: CancellationToken,
    work: TaskTracker,
}

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000)))
    }

    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    fn advance(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn as_clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

impl Replica {
    fn start<B: Board + 'static>(board: B, clock: &TestClock, timings: Timings) -> Self {
        let (limiter, publisher) = Limiter::on_board(10_000, board, clock.as_clock(), timings);
        Self::run(limiter, publisher)
    }

    fn run<B: Board + 'static>(limiter: Limiter, publisher: Publisher<B>) -> Self {
        let (stop, work) = (CancellationToken::new(), TaskTracker::new());
        work.spawn(publisher.run(stop.clone()));
        Self {
            limiter,
            stop,
            work,
        }
    }

    /// Waits until this replica shares its counters with so many.
    async fn among(&self, replicas: u32) {
        let is_among = || {
            let sharing = self.limiter.sharing().unwrap();
            sharing.is_up && sharing.replicas == replicas
        };
        until(is_among).await;
    }

    /// Waits until the others can know all that this replica has counted for [`KEY`].
    async fn posted(&self, clock: &TestClock) {
        until(|| self.limiter.is_posted(KEY, clock.now())).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.work.close();
        self.work.wait().await;
    }
}

/// Polls until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let poll = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), poll)
        .await
        .expect("it never came to that");
}

fn limits(requests: u32, tokens: u64, concurrent: u32) -> RateLimits {
    RateLimits {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_minute: NonZeroU64::new(tokens),
        concurrent_requests: NonZeroU32::new(concurrent),
    }
}
