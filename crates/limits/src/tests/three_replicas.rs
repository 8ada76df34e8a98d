//! Three replicas that share limits under a hot load: never more than a tenth beyond, and nearly all of it.

use futures_util::future::join_all;

use super::memory_board::MemoryBoard;
use super::redis_server::TestRedis;
use super::{ACCOUNT, KEY, PATIENT, Replica, TestClock, limits};
use crate::board::Board;
use crate::{LimitKey, LimitKind, RateLimits, Refused, WINDOW_MS};

/// What was admitted, and when.
#[derive(Default)]
struct History(Vec<(u64, u64)>);

impl History {
    fn add(&mut self, now: u64, amount: u64) {
        self.0.push((now, amount));
    }

    /// The most within any 60 s.
    fn most(&self) -> u64 {
        let (mut most, mut sum, mut first) = (0, 0, 0);
        for (now, amount) in &self.0 {
            sum += amount;
            while self.0[first].0 + WINDOW_MS <= *now {
                sum -= self.0[first].1;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    fn between(&self, from: u64, to: u64) -> u64 {
        let within = self.0.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, amount)| amount).sum()
    }
}

/// A load: each replica gets `burst` requests of `tokens` at once every `every_ms`, for 130 s.
#[derive(Clone, Copy)]
struct Load {
    limits: RateLimits,
    tokens: u64,
    burst: usize,
    every_ms: u64,
}

async fn admit_together(
    replicas: &[Replica; 3],
    keys: &[(LimitKey, RateLimits)],
    load: Load,
    clock: &TestClock,
) -> u64 {
    let requests = (0..load.burst).flat_map(|_| replicas).map(|replica| async {
        match replica.limiter.admit(keys, load.tokens, clock.now()).await {
            Ok(mut admission) => {
                admission.settle_tokens(load.tokens, clock.now());
                1
            }
            Err(Refused::RateLimited(refusal)) => {
                assert_ne!(refusal.which, LimitKind::Concurrency);
                assert!(refusal.retry_after_ms.unwrap() <= WINDOW_MS + 2_000);
                0
            }
            Err(Refused::Full) => panic!("the limiter is full"),
        }
    });
    join_all(requests).await.into_iter().sum()
}

async fn run(boards: [impl Board + 'static; 3], load: Load) -> History {
    let clock = TestClock::new();
    let replicas = boards.map(|board| Replica::start(board, &clock, PATIENT));
    for replica in &replicas {
        replica.among(3).await;
    }
    let keys = [(KEY, load.limits), (ACCOUNT, limits(1_000_000, 0, 0))];
    let start = clock.now().0;
    let mut history = History::default();
    while clock.now().0 < start + 130_000 {
        let admitted = admit_together(&replicas, &keys, load, &clock).await;
        history.add(clock.now().0 - start, admitted * load.tokens.max(1));
        // The clock of the test runs faster than real time, and would leave the board behind.
        for replica in &replicas {
            replica.posted(&clock).await;
        }
        clock.advance(load.every_ms);
    }
    for replica in replicas {
        assert_eq!(replica.limiter.sharing().unwrap().fallbacks, 0);
        replica.stop().await;
    }
    history
}

/// Of the limit in tenths of a percent: the most in 60 s, and what came through in the first and the second minute.
fn accuracy(name: &str, history: &History, limit: u64) {
    let most = history.most();
    let minutes = [history.between(0, 60_000), history.between(61_000, 122_000)];
    println!("{name}: limit {limit}, most in 60 s {most}, by minute {minutes:?}");
    assert!(most * 10 <= limit * 11, "{name}: {most} of {limit}");
    for minute in minutes {
        assert!(minute * 10 >= limit * 9, "{name}: {minute} of {limit}");
    }
}

#[tokio::test]
async fn what_tokens_were_really_used_reaches_the_others() {
    let clock = TestClock::new();
    let [one, other, third] = MemoryBoard::of().map(|board| Replica::start(board, &clock, PATIENT));
    for replica in [&one, &other, &third] {
        replica.among(3).await;
    }
    let keys = [(KEY, limits(0, 1_000, 0))];
    let mut first = one.limiter.admit(&keys, 100, clock.now()).await.unwrap();
    first.settle_tokens(700, clock.now());
    one.posted(&clock).await;
    // What the first reserved lapses, and so do refusals.
    clock.advance(2_000);
    assert!(other.limiter.admit(&keys, 301, clock.now()).await.is_err());
    clock.advance(200);
    let mut second = other.limiter.admit(&keys, 300, clock.now()).await.unwrap();
    other.posted(&clock).await;
    clock.advance(2_000);
    // More than a replica may go ahead, of what is spent.
    assert!(third.limiter.admit(&keys, 40, clock.now()).await.is_err());
    second.settle_tokens(200, clock.now());
    other.posted(&clock).await;
    clock.advance(200);
    assert!(third.limiter.admit(&keys, 101, clock.now()).await.is_err());
    clock.advance(200);
    let all = third.limiter.admit(&keys, 100, clock.now()).await.unwrap();
    all.refund();
    drop((first, second));
    for replica in [one, other, third] {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_clocks_of_replicas_need_not_agree() {
    let redis = TestRedis::find();
    let mut ahead_ms = 0;
    let replicas = redis.boards::<3>().map(|board| {
        let clock = TestClock::new();
        clock.advance(ahead_ms);
        ahead_ms += 3_600_000;
        let replica = Replica::start(board.by_servers_clock(), &clock, PATIENT);
        (replica, clock)
    });
    for (replica, _) in &replicas {
        replica.among(3).await;
    }
    let keys = [(KEY, limits(200, 0, 0))];
    let turns = (0..200).flat_map(|_| &replicas);
    let requests = turns.map(async |(replica, clock)| {
        let admission = replica.limiter.admit(&keys, 0, clock.now()).await;
        usize::from(admission.is_ok())
    });
    let admitted: usize = join_all(requests).await.into_iter().sum();
    // A part may be reserved by one that does not need it.
    assert!((190..=220).contains(&admitted), "{admitted} of 200");
    for (replica, _) in replicas {
        replica.stop().await;
    }
}

fn loads() -> [(&'static str, u64, Load); 6] {
    let requests = |limit: u32, burst, every_ms| {
        let limits = limits(limit, 0, 0);
        (u64::from(limit_of(&limits)), limits, burst, every_ms)
    };
    let of = |name, (limit, limits, burst, every_ms)| {
        let load = Load {
            limits,
            tokens: 0,
            burst,
            every_ms,
        };
        (name, limit, load)
    };
    let tokens = |name, limit: u64, tokens| {
        let load = Load {
            limits: limits(0, limit, 0),
            tokens,
            burst: 8,
            every_ms: 200,
        };
        (name, limit, load)
    };
    [
        of("6000 requests at once", requests(6_000, 1_000, 1_000)),
        of("600 requests, steady", requests(600, 2, 200)),
        of("60 requests, bursts", requests(60, 10, 500)),
        of("10 requests", requests(10, 2, 200)),
        tokens("100000 tokens by 500", 100_000, 500),
        tokens("20000 tokens by 1000", 20_000, 1_000),
    ]
}

fn limit_of(limits: &RateLimits) -> u32 {
    limits.requests_per_minute.unwrap().get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_replicas_keep_a_limit_together() {
    for (name, limit, load) in loads() {
        let history = run(MemoryBoard::of(), load).await;
        accuracy(name, &history, limit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_replicas_keep_a_limit_together_over_redis() {
    let redis = TestRedis::find();
    for (name, limit, load) in loads() {
        let history = run(redis.boards(), load).await;
        accuracy(name, &history, limit);
    }
}
