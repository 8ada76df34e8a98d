//! What an admission takes: by a limiter of its own, by one that shares its counters, and where it must ask.
//!
//! `REDIS_URL=redis://127.0.0.1:6379 cargo run --release -p airouter-limits --example admit_bench`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool of the project's own: it stops at the first thing that goes wrong, and prints what it measured"
)]

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use airouter_limits::{Clock, LimitKey, Limiter, Moment, RateLimits, RedisBoard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Keys that take turns.
const KEYS: u128 = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let (stop, work) = (CancellationToken::new(), TaskTracker::new());
    let shared = || {
        let board = RedisBoard::open(&url).unwrap();
        let (limiter, publisher) = Limiter::shared(10_000, board, clock());
        work.spawn(publisher.run(stop.clone()));
        limiter
    };
    let (large, small) = (limits(1_000_000_000, 1_000_000), limits(1_000_000_000, 10));
    report(
        "a limiter of its own",
        &Limiter::new(10_000),
        1,
        large,
        None,
    )
    .await;
    let one = shared();
    among(&one, 1).await;
    report("shared, alone", &one, 2, large, None).await;
    let _others = [shared(), shared()];
    among(&one, 3).await;
    report("shared by three", &one, 3, large, None).await;
    let pause = Some(Duration::from_millis(2));
    report(
        "shared by three, 10 at a time, 500/s",
        &one,
        4,
        small,
        pause,
    )
    .await;
    println!("{:?}", one.sharing().unwrap());
    stop.cancel();
    work.close();
    work.wait().await;
}

async fn report(
    name: &str,
    limiter: &Limiter,
    round: u128,
    limits: RateLimits,
    pause: Option<Duration>,
) {
    let now = clock();
    let count = if pause.is_some() { 2_000 } else { 200_000 };
    let mut taken = Vec::with_capacity(count);
    let (mut busy, mut admitted) = (Duration::ZERO, 0);
    for turn in 0..count as u128 {
        let id = ((round << 64) | (turn % KEYS)).to_be_bytes();
        let keys = [(LimitKey::Key(id), limits), (LimitKey::Account(id), limits)];
        let begun = Instant::now();
        let admission = limiter.admit(&keys, 500, now()).await;
        taken.push(begun.elapsed());
        if let Ok(mut admission) = admission {
            admission.settle_tokens(700, now());
            admitted += 1;
        }
        busy += begun.elapsed();
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None if turn % 64 == 0 => tokio::task::yield_now().await,
            None => {}
        }
    }
    taken.sort_unstable();
    let at = |percent: usize| taken[(count - 1) * percent / 1_000];
    let whole = busy.as_nanos() / count as u128;
    println!(
        "{name}: admit p50 {:?} p99 {:?} p99.9 {:?}; admit + settle + end {whole} ns; {admitted} of {count} admitted",
        at(500),
        at(990),
        at(999),
    );
}

async fn among(limiter: &Limiter, replicas: u32) {
    while !limiter
        .sharing()
        .is_some_and(|sharing| sharing.is_up && sharing.replicas >= replicas)
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn limits(tokens: u64, concurrent: u32) -> RateLimits {
    RateLimits {
        requests_per_minute: NonZeroU32::new(1_000_000_000),
        tokens_per_minute: NonZeroU64::new(tokens * 1_000),
        concurrent_requests: NonZeroU32::new(concurrent),
    }
}

fn clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Moment(u64::try_from(since.as_millis()).unwrap_or(0))
    })
}
