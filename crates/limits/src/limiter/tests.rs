use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::table::SHARDS;
use crate::{LimitKind, WINDOW_MS};

trait AdmitNow {
    fn admit_now(
        &self,
        keys: &[(LimitKey, RateLimits)],
        estimated_tokens: u64,
        now: Moment,
    ) -> Result<Admission, Refused>;
}

impl AdmitNow for Limiter {
    fn admit_now(
        &self,
        keys: &[(LimitKey, RateLimits)],
        estimated_tokens: u64,
        now: Moment,
    ) -> Result<Admission, Refused> {
        let admission = self.admit(keys, estimated_tokens, now);
        admission.now_or_never().expect("it waits for nobody")
    }
}

const KEY: LimitKey = LimitKey::Key([1; 16]);
const ACCOUNT: LimitKey = LimitKey::Account([1; 16]);
const NOW: Moment = Moment(1_000_000);

fn requests(limit: u32) -> RateLimits {
    RateLimits {
        requests_per_minute: NonZeroU32::new(limit),
        ..RateLimits::default()
    }
}

fn tokens(limit: u64) -> RateLimits {
    RateLimits {
        tokens_per_minute: NonZeroU64::new(limit),
        ..RateLimits::default()
    }
}

fn concurrent(limit: u32) -> RateLimits {
    RateLimits {
        concurrent_requests: NonZeroU32::new(limit),
        ..RateLimits::default()
    }
}

fn refusal(result: Result<Admission, Refused>) -> RateLimited {
    match result.unwrap_err() {
        Refused::RateLimited(refusal) => refusal,
        Refused::Full => panic!("the limiter is full"),
    }
}

#[test]
fn without_limits_everything_is_admitted_and_nothing_remembered() {
    let limiter = Limiter::new(100);
    let unlimited = [
        (KEY, RateLimits::default()),
        (ACCOUNT, RateLimits::default()),
    ];
    for _ in 0..1_000 {
        let admission = limiter.admit_now(&unlimited, u64::MAX, NOW).unwrap();
        assert_eq!(*admission.status(), RateStatus::default());
    }
    assert_eq!(limiter.tracked_keys(), 0);
}

#[test]
fn the_request_beyond_the_limit_is_told_when_to_come_back() {
    let limiter = Limiter::new(100);
    let keys = [(KEY, requests(2))];
    let first = limiter.admit_now(&keys, 0, NOW).unwrap();
    let status = first.status().requests.unwrap();
    assert_eq!(
        (status.limit, status.remaining, status.reset_after_ms),
        (2, 1, WINDOW_MS + 1_000)
    );
    assert_eq!(first.status().tokens, None);
    drop((
        first,
        limiter.admit_now(&keys, 0, Moment(NOW.0 + 5_000)).unwrap(),
    ));
    let later = Moment(NOW.0 + 20_000);
    let refusal = refusal(limiter.admit_now(&keys, 0, later));
    assert_eq!(
        (refusal.which, refusal.limit, refusal.remaining),
        (LimitKind::Requests, 2, 0)
    );
    let back = later.0 + refusal.retry_after_ms.unwrap();
    assert!(limiter.admit_now(&keys, 0, Moment(back - 1)).is_err());
    assert!(limiter.admit_now(&keys, 0, Moment(back)).is_ok());
}

#[test]
fn a_request_counts_for_all_its_keys_or_for_none() {
    let limiter = Limiter::new(100);
    let both = [(KEY, requests(5)), (ACCOUNT, requests(1))];
    drop(limiter.admit_now(&both, 0, NOW).unwrap());
    for _ in 0..10 {
        assert_eq!(refusal(limiter.admit_now(&both, 0, NOW)).limit, 1);
    }
    for _ in 0..4 {
        drop(limiter.admit_now(&both[..1], 0, NOW).unwrap());
    }
    assert_eq!(refusal(limiter.admit_now(&both[..1], 0, NOW)).limit, 5);
}

#[test]
fn the_status_is_that_of_the_tightest_limit() {
    let limiter = Limiter::new(100);
    let keys = [
        (KEY, requests(50)),
        (
            ACCOUNT,
            RateLimits {
                tokens_per_minute: NonZeroU64::new(900),
                ..requests(3)
            },
        ),
    ];
    let admission = limiter.admit_now(&keys, 100, NOW).unwrap();
    let status = admission.status();
    assert_eq!(
        status
            .requests
            .map(|requests| (requests.limit, requests.remaining)),
        Some((3, 2))
    );
    assert_eq!(
        status.tokens.map(|tokens| (tokens.limit, tokens.remaining)),
        Some((900, 800))
    );
}

#[test]
fn concurrency_is_free_again_when_the_request_ends() {
    let limiter = Limiter::new(100);
    let keys = [(KEY, concurrent(2))];
    let first = limiter.admit_now(&keys, 0, NOW).unwrap();
    let second = limiter.admit_now(&keys, 0, NOW).unwrap();
    assert_eq!(
        refusal(limiter.admit_now(&keys, 0, NOW)).which,
        LimitKind::Concurrency
    );
    drop(first);
    let third = limiter.admit_now(&keys, 0, NOW).unwrap();
    assert!(limiter.admit_now(&keys, 0, NOW).is_err());
    second.refund();
    drop(limiter.admit_now(&keys, 0, NOW).unwrap());
    drop(third);
}

#[test]
fn tokens_are_corrected_to_what_was_used() {
    let limiter = Limiter::new(100);
    let keys = [(KEY, tokens(100))];
    let mut admission = limiter.admit_now(&keys, 90, NOW).unwrap();
    assert_eq!(refusal(limiter.admit_now(&keys, 11, NOW)).remaining, 10);
    admission.settle_tokens(20, NOW);
    admission.settle_tokens(20, NOW);
    assert_eq!(refusal(limiter.admit_now(&keys, 81, NOW)).remaining, 80);
    admission.settle_tokens(130, NOW);
    assert_eq!(refusal(limiter.admit_now(&keys, 1, NOW)).remaining, 0);
}

#[test]
fn a_correction_never_takes_the_tokens_of_others() {
    let limiter = Limiter::new(100);
    let keys = [(KEY, tokens(200))];
    let _other = limiter.admit_now(&keys, 100, NOW).unwrap();
    let mut admission = limiter.admit_now(&keys, 10, NOW).unwrap();
    admission.settle_tokens(60, Moment(NOW.0 + 5_000));
    admission.settle_tokens(0, Moment(NOW.0 + 6_000));
    admission.refund();
    assert_eq!(refusal(limiter.admit_now(&keys, 200, NOW)).remaining, 50);
}

#[test]
fn more_tokens_than_the_whole_limit_never_fit() {
    let limiter = Limiter::new(100);
    let refusal =
        refusal(limiter.admit_now(&[(KEY, tokens(100)), (ACCOUNT, concurrent(1))], 101, NOW));
    assert_eq!(
        (refusal.which, refusal.retry_after_ms),
        (LimitKind::Tokens, None)
    );
}

#[test]
fn a_refund_leaves_nothing_behind() {
    let limiter = Limiter::new(100);
    let limits = RateLimits {
        tokens_per_minute: NonZeroU64::new(100),
        ..requests(1)
    };
    for _ in 0..10 {
        limiter
            .admit_now(&[(KEY, limits), (ACCOUNT, limits)], 100, NOW)
            .unwrap()
            .refund();
    }
    drop(limiter.admit_now(&[(KEY, limits)], 100, NOW).unwrap());
    assert!(limiter.admit_now(&[(KEY, limits)], 0, NOW).is_err());
}

#[test]
fn a_key_given_twice_counts_once() {
    let limiter = Limiter::new(100);
    let admission = limiter
        .admit_now(&[(KEY, requests(2)), (KEY, requests(2))], 0, NOW)
        .unwrap();
    assert_eq!(admission.status().requests.unwrap().remaining, 1);
}

#[test]
fn idle_keys_are_forgotten_and_running_requests_are_not() {
    let limiter = Limiter::new(100_000);
    let running = limiter.admit_now(&[(KEY, concurrent(1))], 0, NOW).unwrap();
    let mut now = NOW;
    for round in 0..20u64 {
        for id in 0..5_000u64 {
            let key = LimitKey::Key((u128::from(round) << 64 | u128::from(id)).to_be_bytes());
            drop(limiter.admit_now(&[(key, requests(1))], 0, now).unwrap());
        }
        now = Moment(now.0 + 2 * WINDOW_MS);
    }
    assert!(
        limiter.tracked_keys() < 15_000,
        "{}",
        limiter.tracked_keys()
    );
    assert!(limiter.admit_now(&[(KEY, concurrent(1))], 0, now).is_err());
    drop(running);
    assert!(limiter.admit_now(&[(KEY, concurrent(1))], 0, now).is_ok());
}

#[test]
fn a_flood_of_active_keys_is_refused_until_there_is_room() {
    let limiter = Limiter::new(SHARDS);
    let flood = |now| {
        (0..2_000u128)
            .filter(|id| {
                let key = LimitKey::Key((id + 2_000 * u128::from(now)).to_be_bytes());
                limiter
                    .admit_now(&[(key, requests(1))], 0, Moment(now))
                    .is_ok()
            })
            .count()
    };
    assert_eq!(flood(0), SHARDS);
    assert_eq!(limiter.tracked_keys(), SHARDS);
    assert_eq!(flood(10), 0);
    assert_eq!(flood(2 * WINDOW_MS), SHARDS);
    assert_eq!(limiter.tracked_keys(), SHARDS);
}

#[test]
fn threads_together_get_exactly_the_limit() {
    let limiter = Limiter::new(100);
    let (admitted, running, most_running) =
        (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let by_key = RateLimits {
        concurrent_requests: NonZeroU32::new(3),
        ..requests(1_000)
    };
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (limiter, admitted, running, most_running) =
                (&limiter, &admitted, &running, &most_running);
            scope.spawn(move || {
                let keys = [
                    (LimitKey::Key([thread % 2; 16]), requests(1_000)),
                    (ACCOUNT, by_key),
                ];
                let in_any_order = [keys[1], keys[0]];
                for round in 0..2_000 {
                    let keys = if round % 2 == 0 { &keys } else { &in_any_order };
                    if let Ok(admission) = limiter.admit_now(keys, 0, NOW) {
                        admitted.fetch_add(1, Ordering::SeqCst);
                        most_running.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(admission);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 1_000);
    assert!(most_running.into_inner() <= 3);
}

proptest! {
    /// Against plain lists of what was admitted: never more than a limit in any 60 s, and never a refusal of what would
    /// have fitted 61 s.
    #[test]
    fn no_minute_holds_more_than_the_limit(
        limits in (1u32..20, 1u64..500, 1u32..20, 1u64..500),
        steps in proptest::collection::vec((0u64..5_000, 0u64..200, any::<bool>()), 1..200),
    ) {
        let limiter = Limiter::new(100);
        let of_key = RateLimits { tokens_per_minute: NonZeroU64::new(limits.1), ..requests(limits.0) };
        let of_account = RateLimits { tokens_per_minute: NonZeroU64::new(limits.3), ..requests(limits.2) };
        let (mut history, mut now) = (Vec::<(u64, u64, bool)>::new(), 0);
        for (pause, tokens, with_key) in steps {
            now += pause;
            let keys = [(ACCOUNT, of_account), (KEY, of_key)];
            let keys = if with_key { &keys[..] } else { &keys[..1] };
            let admitted = limiter.admit_now(keys, tokens, Moment(now)).is_ok();
            let fits = |length: u64, only_key: bool, limits: &RateLimits| {
                let recent = || history.iter().filter(|past| past.0 + length > now && (past.2 || !only_key));
                recent().count() < limits.requests_per_minute.unwrap().get() as usize
                    && recent().map(|past| past.1).sum::<u64>() + tokens <= limits.tokens_per_minute.unwrap().get()
            };
            let fits_all = |length| fits(length, false, &of_account) && (!with_key || fits(length, true, &of_key));
            if admitted {
                prop_assert!(fits_all(WINDOW_MS), "too much within a minute at {now}");
                history.push((now, tokens, with_key));
            } else {
                prop_assert!(!fits_all(WINDOW_MS + 1_000), "refused without need at {now}");
            }
        }
    }
}
