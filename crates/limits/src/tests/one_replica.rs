//! As long as nobody else uses a key, sharing its counters changes nothing.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::memory_board::MemoryBoard;
use super::redis_server::TestRedis;
use super::{ACCOUNT, KEY, PATIENT, Replica, TestClock, limits};
use crate::board::Board;
use crate::{Admission, LimitKey, Limiter, Moment, RateLimits, Refused};

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit { tokens: u64, with_key: bool },
    Settle { which: usize, tokens: u64 },
    Refund { which: usize },
    End { which: usize },
    Wait { milliseconds: u64 },
}

fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let which = || any::<usize>();
    let step = prop_oneof![
        5 => (0u64..300, any::<bool>()).prop_map(|(tokens, with_key)| Step::Admit { tokens, with_key }),
        1 => (which(), 0u64..400).prop_map(|(which, tokens)| Step::Settle { which, tokens }),
        1 => which().prop_map(|which| Step::Refund { which }),
        2 => which().prop_map(|which| Step::End { which }),
        2 => (0u64..3_000).prop_map(|milliseconds| Step::Wait { milliseconds }),
        1 => (0u64..70_000).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ];
    proptest::collection::vec(step, 1..length)
}

fn any_limits() -> impl Strategy<Value = RateLimits> {
    let requests = prop_oneof![Just(0u32), 1u32..20, 100u32..400];
    let tokens = prop_oneof![Just(0u64), 1u64..2_000, 20_000u64..50_000];
    let concurrent = prop_oneof![Just(0u32), 1u32..8, 30u32..90];
    (requests, tokens, concurrent)
        .prop_map(|(requests, tokens, concurrent)| limits(requests, tokens, concurrent))
}

/// Two limiters that live through the same, and must agree on it.
struct Pair<'a> {
    shared: &'a Limiter,
    alone: Limiter,
    admitted: Vec<(Admission, Admission)>,
}

impl Pair<'_> {
    async fn admit(&mut self, keys: &[(LimitKey, RateLimits)], tokens: u64, now: Moment) {
        let shared = self.shared.admit(keys, tokens, now).await;
        match (shared, self.alone.admit(keys, tokens, now).await) {
            (Ok(shared), Ok(alone)) => {
                assert_eq!(shared.status(), alone.status());
                self.admitted.push((shared, alone));
            }
            (Err(shared), Err(alone)) => assert_eq!(shared, alone),
            (shared, alone) => panic!("{:?} against {:?}", outcome(shared), outcome(alone)),
        }
    }

    fn take(&mut self, which: usize) -> Option<(Admission, Admission)> {
        (!self.admitted.is_empty()).then(|| self.admitted.swap_remove(which % self.admitted.len()))
    }
}

fn outcome(result: Result<Admission, Refused>) -> Option<Refused> {
    result.map(drop).err()
}

async fn agrees(
    replica: &Replica,
    clock: &TestClock,
    keys: [(LimitKey, RateLimits); 2],
    steps: &[Step],
) {
    let mut pair = Pair {
        shared: &replica.limiter,
        alone: Limiter::new(10_000),
        admitted: Vec::new(),
    };
    for step in steps {
        let now = clock.now();
        match *step {
            Step::Admit { tokens, with_key } => {
                let keys = if with_key { &keys[..] } else { &keys[..1] };
                pair.admit(keys, tokens, now).await;
            }
            Step::Settle { which, tokens } => {
                if let Some((mut shared, mut alone)) = pair.take(which) {
                    shared.settle_tokens(tokens, now);
                    alone.settle_tokens(tokens, now);
                    pair.admitted.push((shared, alone));
                }
            }
            Step::Refund { which } => {
                if let Some((shared, alone)) = pair.take(which) {
                    shared.refund();
                    alone.refund();
                }
            }
            Step::End { which } => drop(pair.take(which)),
            Step::Wait { milliseconds } => clock.advance(milliseconds),
        }
    }
}

/// Random lives of one replica, among so many of which the others do nothing.
fn one_replica_is_exact<B: Board + 'static>(board: B, among: u32, cases: u32, length: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let clock = TestClock::new();
    let replica = runtime.block_on(async {
        let replica = Replica::start(board, &clock, PATIENT);
        replica.among(among).await;
        replica
    });
    let case = Cell::new(0u128);
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let lives = (any_limits(), any_limits(), steps(length));
    let outcome = runner.run(&lives, |(of_account, of_key, steps)| {
        case.set(case.get() + 1);
        let id = case.get().to_be_bytes();
        let keys = [
            (LimitKey::Account(id), of_account),
            (LimitKey::Key(id), of_key),
        ];
        runtime.block_on(agrees(&replica, &clock, keys, &steps));
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(replica.limiter.sharing().unwrap().fallbacks, 0);
    runtime.block_on(replica.stop());
}

#[test]
fn one_replica_alone_is_exact() {
    let [board] = MemoryBoard::of();
    one_replica_is_exact(board, 1, 150, 150);
}

#[test]
fn one_replica_among_idle_ones_is_exact() {
    let [board, ..] = MemoryBoard::of::<3>();
    one_replica_is_exact(board, 3, 150, 150);
}

#[test]
fn one_replica_alone_is_exact_over_redis() {
    let redis = TestRedis::find();
    let [board] = redis.boards();
    one_replica_is_exact(board, 1, 20, 100);
}

#[tokio::test]
async fn one_replica_among_idle_ones_is_exact_over_redis() {
    let redis = TestRedis::find();
    let [board, one, other] = redis.boards();
    let clock = TestClock::new();
    let idle = [one, other].map(|board| Replica::start(board, &clock, PATIENT));
    idle[0].among(2).await;
    tokio::task::spawn_blocking(move || one_replica_is_exact(board, 3, 20, 100))
        .await
        .unwrap();
    for replica in idle {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_replica_alone_never_waits() {
    let [board] = MemoryBoard::of();
    let clock = TestClock::new();
    let replica = Replica::start(board, &clock, PATIENT);
    replica.among(1).await;
    let keys = [(KEY, limits(3, 1_000, 3)), (ACCOUNT, limits(3, 1_000, 3))];
    for _ in 0..3 {
        let admission = replica.limiter.admit(&keys, 100, clock.now());
        let admission = futures_util::FutureExt::now_or_never(admission);
        drop(admission.expect("it waits for nobody").unwrap());
    }
    replica.stop().await;
}
