//! Redis is wiped, stopped, hangs, or was never there: requests go on.

use std::time::{Duration, Instant};

use super::memory_board::MemoryBoard;
use super::redis_server::ThrowAway;
use super::{ACCOUNT, KEY, PATIENT, Replica, TestClock, limits, until};
use crate::board::Board as _;
use crate::publisher::Timings;
use crate::redis_board::RedisBoard;
use crate::{Limiter, Moment, RateLimits};

/// Like [`PATIENT`], but that requests wait no longer than in production.
const IMPATIENT: Timings = Timings {
    longest_wait: Duration::from_millis(30),
    ..PATIENT
};

async fn admitted(replica: &Replica, limits: RateLimits, now: Moment, offered: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..offered {
        admitted += usize::from(
            replica
                .limiter
                .admit(&[(KEY, limits)], 0, now)
                .await
                .is_ok(),
        );
    }
    admitted
}

async fn two_over(server: &ThrowAway, clock: &TestClock, timings: Timings) -> [Replica; 2] {
    let replicas = server
        .boards()
        .map(|board| Replica::start(board, clock, timings));
    for replica in &replicas {
        replica.among(2).await;
    }
    replicas
}

fn is_up(replica: &Replica) -> bool {
    replica.limiter.sharing().unwrap().is_up
}

#[tokio::test]
async fn a_wipe_of_redis_does_no_harm() {
    let server = ThrowAway::start();
    let clock = TestClock::new();
    let [one, other] = two_over(&server, &clock, PATIENT).await;
    let limits = limits(20, 0, 0);
    assert_eq!(admitted(&one, limits, clock.now(), 10).await, 10);
    for command in ["FLUSHALL", "SCRIPT FLUSH"] {
        let _: () = server.command(command);
    }
    // With its next use of the key a replica posts all that it has counted.
    assert_eq!(admitted(&one, limits, clock.now(), 1).await, 1);
    one.among(2).await;
    other.among(2).await;
    one.posted(&clock).await;
    let mut rest = admitted(&other, limits, clock.now(), 30).await;
    // What the one reserved and does not use.
    clock.advance(2_000);
    rest += admitted(&other, limits, clock.now(), 30).await;
    assert!((9..=11).contains(&rest), "{rest}");
    for replica in [one, other] {
        assert_eq!(replica.limiter.sharing().unwrap().fallbacks, 0);
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_wipe_leaves_each_replica_its_own_limit() {
    let boards = MemoryBoard::of::<2>();
    let seen = boards[0].clone();
    let clock = TestClock::new();
    let [one, other] = boards.map(|board| Replica::start(board, &clock, PATIENT));
    one.among(2).await;
    other.among(2).await;
    let limits = limits(20, 0, 0);
    assert_eq!(admitted(&one, limits, clock.now(), 30).await, 20);
    seen.wipe();
    assert_eq!(admitted(&one, limits, clock.now(), 30).await, 0);
    for replica in [one, other] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn while_redis_is_stopped_each_replica_counts_by_itself() {
    let mut server = ThrowAway::start();
    let clock = TestClock::new();
    let [one, other] = two_over(&server, &clock, PATIENT).await;
    let limits = limits(10, 0, 0);
    assert_eq!(admitted(&one, limits, clock.now(), 10).await, 10);
    assert_eq!(admitted(&other, limits, clock.now(), 10).await, 0);
    server.kill();
    until(|| !is_up(&one) && !is_up(&other)).await;
    assert_eq!(admitted(&other, limits, clock.now(), 30).await, 10);
    assert_eq!(other.limiter.sharing().unwrap().fallbacks, 10);
    server.restart();
    one.among(2).await;
    other.among(2).await;
    // It begins with nothing, and hears of everything that is used from then on.
    clock.advance(62_000);
    assert_eq!(admitted(&one, limits, clock.now(), 10).await, 10);
    assert_eq!(admitted(&other, limits, clock.now(), 10).await, 0);
    for replica in [one, other] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn while_redis_hangs_requests_go_on() {
    let server = ThrowAway::start();
    let clock = TestClock::new();
    let boards = server.boards::<2>().map(RedisBoard::with_usual_patience);
    let [one, other] = boards.map(|board| Replica::start(board, &clock, IMPATIENT));
    one.among(2).await;
    other.among(2).await;
    server.signal("-STOP");
    let limits = limits(10, 0, 0);
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let begun = Instant::now();
        assert_eq!(admitted(&one, limits, clock.now(), 1).await, 1);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert_eq!(admitted(&one, limits, clock.now(), 1).await, 0);
    until(|| !is_up(&one)).await;
    // Nobody waits any more.
    let keys = [(ACCOUNT, limits)];
    let admission = one.limiter.admit(&keys, 0, clock.now());
    drop(futures_util::FutureExt::now_or_never(admission).expect("it waits for nobody"));
    assert!(one.limiter.sharing().unwrap().fallbacks > 0);
    server.signal("-CONT");
    until(|| is_up(&one) && is_up(&other)).await;
    for replica in [one, other] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn everything_in_redis_expires() {
    let server = ThrowAway::start();
    let clock = TestClock::new();
    let [one, other] = two_over(&server, &clock, PATIENT).await;
    let keys = [(KEY, limits(5, 100, 3)), (ACCOUNT, limits(5, 0, 0))];
    drop(one.limiter.admit(&keys, 10, clock.now()).await.unwrap());
    let mut names: Vec<String> = server.command("KEYS *");
    names.sort();
    let ends: Vec<_> = names
        .iter()
        .filter_map(|name| name.split_once(':'))
        .collect();
    let id = "07".repeat(16);
    assert_eq!(
        ends.iter()
            .map(|(_, end)| (*end).to_owned())
            .collect::<Vec<_>>(),
        [
            format!("limits:account:{id}"),
            format!("limits:key:{id}"),
            "replicas".to_owned()
        ]
    );
    for name in names {
        let milliseconds: i64 = server.command(&format!("PTTL {name}"));
        assert!((1..=62_000).contains(&milliseconds), "{milliseconds}");
    }
    for replica in [one, other] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn what_runs_is_told_when_redis_is_back() {
    let mut server = ThrowAway::start();
    let clock = TestClock::new();
    let [one, other] = two_over(&server, &clock, PATIENT).await;
    let keys = [(KEY, limits(0, 0, 2))];
    let before = one.limiter.admit(&keys, 0, clock.now()).await.unwrap();
    server.kill();
    until(|| !is_up(&one) && !is_up(&other)).await;
    let meanwhile = one.limiter.admit(&keys, 0, clock.now()).await.unwrap();
    server.restart();
    one.among(2).await;
    other.among(2).await;
    // Time stands still, but for what the refusals of a moment last.
    let patience = Instant::now() + Duration::from_secs(20);
    while let Ok(admission) = other.limiter.admit(&keys, 0, clock.now()).await {
        drop(admission);
        assert!(Instant::now() < patience, "it never hears of what runs");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop((before, meanwhile));
    for replica in [one, other] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_looked_for() {
    let mut server = ThrowAway::start();
    server.kill();
    let clock = TestClock::new();
    let [board] = server.boards();
    let replica = Replica::start(board, &clock, IMPATIENT);
    let limits = limits(2, 0, 0);
    assert_eq!(admitted(&replica, limits, clock.now(), 5).await, 2);
    server.restart();
    replica.among(1).await;
    replica.stop().await;
}

#[tokio::test]
async fn keys_used_during_a_long_outage_are_forgotten() {
    let [board] = MemoryBoard::of();
    let seen = board.clone();
    let clock = TestClock::new();
    let (limiter, publisher) = Limiter::on_board(64, board, clock.as_clock(), PATIENT);
    let replica = Replica::run(limiter, publisher);
    replica.among(1).await;
    seen.set_away(true);
    until(|| !is_up(&replica)).await;
    for round in 0..50u128 {
        let keys = [(crate::LimitKey::Key(round.to_be_bytes()), limits(1, 0, 0))];
        let admitted = async || replica.limiter.admit(&keys, 0, clock.now()).await.is_ok();
        // There is room as soon as the publisher has let go of the earlier ones.
        let patience = Instant::now() + Duration::from_secs(20);
        while !admitted().await {
            assert!(Instant::now() < patience, "there is no room at {round}");
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance(1_000);
        }
        clock.advance(62_000);
    }
    replica.stop().await;
}

#[tokio::test]
async fn a_server_without_tls_is_away_for_who_wants_it() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let server = ThrowAway::start();
    let mut board = RedisBoard::open(&server.url().replace("redis:", "rediss:")).unwrap();
    board.join().await.unwrap_err();
}

#[test]
fn a_url_that_is_none_is_refused_and_not_repeated() {
    for url in [
        "",
        "redis",
        "http://:secret@host",
        "redis://:secret@host:port",
    ] {
        let error = RedisBoard::open(url).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
    for url in [
        "redis://host",
        "rediss://:secret@host:6380/1",
        "redis+unix:///run/redis",
    ] {
        let board = RedisBoard::open(url).unwrap();
        assert!(!format!("{board:?}").contains("secret"));
    }
}
