//! The script in Redis does what the board in memory does.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::memory_board::MemoryBoard;
use super::redis_server::TestRedis;
use crate::board::{Board, Claim, Leaving, Post};
use crate::kinds::ByKind;
use crate::{LimitKey, LimitKind, Moment};

fn claim() -> impl Strategy<Value = Claim> {
    let small = || 0u64..30;
    let amounts = (0u64..200, small(), small(), small(), small(), small());
    amounts.prop_map(|(limit, own, reserve, want, least, ahead)| Claim {
        limit,
        own,
        reserve,
        want,
        least: least.min(want),
        ahead,
    })
}

fn leaving() -> impl Strategy<Value = Vec<Leaving>> {
    let part = (1u64..61_000, 1u64..20);
    proptest::collection::vec(
        part.prop_map(|(after_ms, amount)| Leaving { after_ms, amount }),
        0..5,
    )
}

fn post() -> impl Strategy<Value = (usize, u64, Post)> {
    let claims = (claim(), claim(), claim());
    let pause = prop_oneof![0u64..2_000, 0u64..30_000];
    (0usize..3, pause, claims, leaving(), leaving()).prop_map(
        |(replica, pause, (requests, tokens, concurrency), of_requests, of_tokens)| {
            let post = Post {
                key: LimitKey::Key([0; 16]),
                now: Moment(0),
                replicas: 3,
                claims: ByKind {
                    requests,
                    tokens,
                    concurrency,
                },
                leaving: ByKind {
                    requests: of_requests,
                    tokens: of_tokens,
                    concurrency: Vec::new(),
                },
            };
            (replica, pause, post)
        },
    )
}

#[test]
fn the_script_and_the_model_agree() {
    let redis = TestRedis::find();
    let boards = RefCell::new(redis.boards::<3>());
    let models = MemoryBoard::of::<3>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let case = Cell::new(0u128);
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(60)
    });
    let outcome = runner.run(&proptest::collection::vec(post(), 1..40), |posts| {
        case.set(case.get() + 1);
        let mut boards = boards.borrow_mut();
        let mut now = 1_000_000;
        for (replica, pause, mut post) in posts {
            now += pause;
            post.now = Moment(now);
            post.key = LimitKey::Account(case.get().to_be_bytes());
            let expected = models[replica].answer(&post);
            let answers = runtime.block_on(boards[replica].exchange(std::slice::from_ref(&post)));
            let mut answer = answers.unwrap().remove(0);
            for kind in LimitKind::ALL {
                answer.leaving[kind].sort_unstable();
            }
            prop_assert_eq!(answer, expected, "{:?}", post);
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn the_largest_numbers_pass() {
    let redis = TestRedis::find();
    let [mut one, mut other] = redis.boards();
    let most = Claim {
        limit: 1 << 52,
        own: u64::MAX,
        ..Claim::default()
    };
    let post = Post {
        key: LimitKey::Key([1; 16]),
        now: Moment(1 << 42),
        replicas: 2,
        claims: ByKind {
            requests: most,
            tokens: most,
            concurrency: most,
        },
        leaving: ByKind::of(|_| {
            vec![
                Leaving {
                    after_ms: 61_000,
                    amount: u64::MAX,
                };
                61
            ]
        }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let posts = std::slice::from_ref(&post);
    runtime.block_on(one.exchange(posts)).unwrap();
    let answer = runtime.block_on(other.exchange(posts)).unwrap().remove(0);
    assert_eq!(answer.others, ByKind::of(|_| 1 << 53));
    assert_eq!(answer.granted, ByKind::default());
}
