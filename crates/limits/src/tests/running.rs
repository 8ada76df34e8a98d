//! Requests at the same time, and what is reserved for them.

use super::memory_board::MemoryBoard;
use super::redis_server::TestRedis;
use super::{KEY, PATIENT, Replica, TestClock, limits, until};
use crate::board::Board;
use crate::{Admission, LimitKind, Refused};

async fn three<B: Board + 'static>(boards: [B; 3], clock: &TestClock) -> [Replica; 3] {
    let replicas = boards.map(|board| Replica::start(board, clock, PATIENT));
    for replica in &replicas {
        replica.among(3).await;
    }
    replicas
}

async fn admit(replica: &Replica, clock: &TestClock, limit: u32) -> Result<Admission, Refused> {
    let keys = [(KEY, limits(0, 0, limit))];
    replica.limiter.admit(&keys, 0, clock.now()).await
}

/// All that the replicas admit until each refuses.
async fn fill(replicas: &[Replica], clock: &TestClock, limit: u32) -> Vec<Vec<Admission>> {
    let mut running: Vec<_> = replicas.iter().map(|_| Vec::new()).collect();
    loop {
        let mut refused = 0;
        for (replica, running) in replicas.iter().zip(&mut running) {
            match admit(replica, clock, limit).await {
                Ok(admission) => running.push(admission),
                Err(Refused::RateLimited(refusal)) => {
                    assert_eq!(refusal.which, LimitKind::Concurrency);
                    refused += 1;
                }
                Err(Refused::Full) => panic!("the limiter is full"),
            }
        }
        if refused == replicas.len() {
            return running;
        }
    }
}

/// Lets time pass, once everybody knows what was counted until now.
async fn pass(replicas: &[Replica], clock: &TestClock, milliseconds: u64) {
    for replica in replicas {
        replica.posted(clock).await;
    }
    clock.advance(milliseconds);
}

async fn is_kept_together<B: Board + 'static>(boards: [B; 3], limit_of_all: u32) {
    let clock = TestClock::new();
    let replicas = three(boards, &clock).await;
    for _ in 0..3 {
        let running = fill(&replicas, &clock, limit_of_all).await;
        // What one reserved and did not use goes to the others after a while.
        pass(&replicas, &clock, 2_000).await;
        let rest = fill(&replicas, &clock, limit_of_all).await;
        let admitted = running.iter().chain(&rest).map(Vec::len).sum::<usize>();
        let limit = usize::try_from(limit_of_all).unwrap();
        assert!(
            admitted >= limit && admitted * 10 <= limit * 11,
            "{admitted} of {limit}"
        );
        drop((running, rest));
        pass(&replicas, &clock, 2_000).await;
        // It is known everywhere that they have ended: one replica gets it all.
        let alone = fill(&replicas[1..2], &clock, limit_of_all).await;
        assert_eq!(alone[0].len(), limit);
        drop(alone);
        pass(&replicas, &clock, 2_000).await;
    }
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn requests_at_the_same_time_are_limited_together() {
    for limit in [3, 10, 100] {
        is_kept_together(MemoryBoard::of(), limit).await;
    }
}

#[tokio::test]
async fn requests_at_the_same_time_are_limited_together_over_redis() {
    let redis = TestRedis::find();
    for limit in [3, 10, 100] {
        is_kept_together(redis.boards(), limit).await;
    }
}

#[tokio::test]
async fn what_a_dead_replica_ran_is_free_after_a_minute() {
    let redis = TestRedis::find();
    let clock = TestClock::new();
    let [dead, lives, other] = three(redis.boards(), &clock).await;
    let lost = fill(std::slice::from_ref(&dead), &clock, 10).await;
    assert_eq!(lost[0].len(), 10);
    // Nothing more is heard of it, neither that they run nor that they have ended.
    dead.work.close();
    dead.stop.cancel();
    dead.work.wait().await;
    assert!(admit(&lives, &clock, 10).await.is_err());
    clock.advance(59_000);
    assert!(admit(&lives, &clock, 10).await.is_err());
    clock.advance(2_000);
    assert_eq!(
        fill(std::slice::from_ref(&lives), &clock, 10).await[0].len(),
        10
    );
    lives.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn what_runs_for_long_goes_on_counting() {
    let boards = MemoryBoard::of();
    let seen = boards[0].clone();
    let clock = TestClock::new();
    let replicas = three(boards, &clock).await;
    let running = fill(&replicas[..1], &clock, 10).await;
    for _ in 0..30 {
        pass(&replicas, &clock, 10_000).await;
        let recent = clock.now().0 - 20_000;
        until(|| seen.posted_at(KEY, 0).is_some_and(|at| at.0 >= recent)).await;
        assert!(admit(&replicas[1], &clock, 10).await.is_err());
    }
    drop(running);
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn what_is_reserved_and_not_used_goes_back_after_a_second() {
    let boards = MemoryBoard::of();
    let seen = boards[0].clone();
    let clock = TestClock::new();
    let replicas = three(boards, &clock).await;
    let first = admit(&replicas[0], &clock, 10).await.unwrap();
    until(|| seen.written(KEY, LimitKind::Concurrency) == (1, 2)).await;
    // The next one finds it reserved: nobody is asked.
    let keys = [(KEY, limits(0, 0, 10))];
    let second = replicas[0].limiter.admit(&keys, 0, clock.now());
    let second = futures_util::FutureExt::now_or_never(second).expect("it waits for nobody");
    until(|| seen.written(KEY, LimitKind::Concurrency).0 == 2).await;
    let third = admit(&replicas[1], &clock, 10).await.unwrap();
    pass(&replicas, &clock, 1_600).await;
    let rest = fill(&replicas[2..], &clock, 10).await;
    assert_eq!(rest[0].len(), 7);
    // Nor does the one that had reserved it use it any more.
    assert!(admit(&replicas[0], &clock, 10).await.is_err());
    drop((first, second, third, rest));
    for replica in replicas {
        replica.stop().await;
    }
}
