use super::*;

use std::time::Duration;

use airouter_billing::{Discount, DiscountBasis, Nanos};
use airouter_openrouter::{ControlClient, ControlTimeouts};
use airouter_store::master_accounts::{CreditReading, MostShare, UpstreamKind, Weight};
use proptest::prelude::*;
use uuid::Uuid;

use crate::masters::verdict::Verdict;
use crate::masters::{MasterParts, breaker::Blow};
use crate::metrics::Metrics;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// An account that is well, with one key.
fn parts(number: u128) -> MasterParts {
    let metrics = Metrics::new().unwrap();
    let url = "http://127.0.0.1:1/api/v1";
    MasterParts {
        id: MasterAccountId::new(Uuid::from_u128(number)),
        name: format!("account-{number}"),
        kind: UpstreamKind::OpenRouter,
        discount: discount(70),
        status: MasterAccountStatus::Active,
        base_url: url.to_owned(),
        keys: vec![(Uuid::from_u128(number), "key".into())],
        management_key: None,
        agreement_ends_at: None,
        weight: Weight::ONE,
        most_share: None,
        credit: None,
        control: ControlClient::new(url, ControlTimeouts::default(), None).unwrap(),
        metrics: metrics.for_master("account"),
    }
}

fn discount(percent: i64) -> Discount {
    Discount::from_percent(percent.into(), DiscountBasis::CreditsBoughtBelowPar).unwrap()
}

fn credit(left: i64) -> CreditReading {
    CreditReading {
        bought: Nanos::from_usd(left).unwrap(),
        used: Nanos::ZERO,
        pace: None,
        seen_at: NOW,
    }
}

fn masters(parts: impl IntoIterator<Item = MasterParts>) -> Masters {
    let all = parts
        .into_iter()
        .map(|parts| Arc::new(Master::new(parts, None).unwrap()))
        .collect();
    Masters::new(all, Vec::new())
}

fn number(turn: &Turn) -> u128 {
    turn.on.master.id.get().as_u128()
}

/// In which order a request asks, when each account fails it with a provider's failure.
fn order(masters: &Masters, price_share: Option<Decimal>) -> Vec<u128> {
    let mut route = Route::new(price_share, Arc::default());
    std::iter::from_fn(|| {
        let turn = masters.next(&mut route, NOW)?;
        let number = number(&turn);
        turn.outcome.failed(Verdict::NotTheirs, NOW);
        Some(number)
    })
    .collect()
}

fn put_aside(masters: &Masters, index: usize, blow: Blow) {
    let turn = masters.all()[index].enter(NOW).unwrap();
    turn.outcome.failed(Verdict::Account(blow), NOW);
}

const BAD: Blow = Blow::Certain(super::super::breaker::Wait::of_seconds(60, 600));

#[test]
fn the_cheapest_that_leaves_a_margin_is_asked_first() {
    let percent = [0, 70, 10, 50];
    let masters = masters((1..=4).map(|number| MasterParts {
        discount: discount(percent[number as usize - 1]),
        ..parts(number)
    }));
    assert_eq!(order(&masters, Some(Decimal::new(8, 1))), [2, 4, 3, 1]);
    assert_eq!(order(&masters, None), [2, 4, 3, 1]);
}

#[test]
fn at_a_loss_the_cheapest_comes_first_whatever_its_credit() {
    let masters = masters([
        MasterParts {
            discount: discount(10),
            ..parts(1)
        },
        MasterParts {
            discount: discount(15),
            credit: Some(CreditReading {
                bought: Nanos::new(1),
                ..credit(0)
            }),
            ..parts(2)
        },
    ]);
    assert_eq!(order(&masters, Some(Decimal::new(5, 1))), [2, 1]);
    assert_eq!(order(&masters, Some(Decimal::new(95, 2))), [1, 2]);
}

#[test]
fn credit_decides_before_the_discount() {
    let masters = masters([
        MasterParts {
            credit: Some(CreditReading {
                bought: Nanos::new(999_999_999),
                ..credit(0)
            }),
            ..parts(1)
        },
        MasterParts {
            credit: Some(credit(0)),
            ..parts(2)
        },
        MasterParts {
            discount: discount(50),
            credit: Some(credit(100)),
            ..parts(3)
        },
    ]);
    assert_eq!(
        order(&masters, None),
        [3, 1],
        "the one without credit is not asked"
    );
    masters.all()[1].note_credit(credit(5));
    assert_eq!(order(&masters, None), [2, 3, 1]);
}

#[test]
fn paused_ones_are_not_asked_and_draining_ones_come_after_the_others() {
    let status = [
        MasterAccountStatus::Draining,
        MasterAccountStatus::Paused,
        MasterAccountStatus::Active,
    ];
    let masters = masters((1..=3).map(|number| MasterParts {
        status: status[number as usize - 1],
        ..parts(number)
    }));
    assert_eq!(order(&masters, None), [3, 1]);
}

#[test]
fn of_those_put_aside_one_is_tried_when_nothing_else_is_left() {
    let masters = masters((1..=3).map(parts));
    put_aside(&masters, 0, BAD);
    put_aside(&masters, 1, BAD);
    assert_eq!(order(&masters, None).len(), 2);
    assert_eq!(order(&masters, None)[0], 3);
}

#[test]
fn one_that_said_when_to_come_again_is_left_alone() {
    let masters = masters((1..=2).map(parts));
    put_aside(&masters, 0, Blow::Told(Duration::from_secs(30)));
    assert_eq!(order(&masters, None), [2]);
    assert_eq!(masters.told_wait(&Servers::default(), NOW), None);
    put_aside(&masters, 1, Blow::Told(Duration::from_secs(20)));
    assert_eq!(order(&masters, None), [] as [u128; 0]);
    assert_eq!(
        masters.told_wait(&Servers::default(), NOW),
        Some(Duration::from_secs(20))
    );
}

#[test]
fn load_is_shared_by_weight() {
    let masters = masters([
        MasterParts {
            weight: Weight::new(3).unwrap(),
            ..parts(1)
        },
        parts(2),
    ]);
    let mut counts = [0, 0];
    // At once: none of them ends.
    let running: Vec<Turn> = (0..40)
        .map(|_| {
            masters
                .next(&mut Route::new(None, Arc::default()), NOW)
                .unwrap()
        })
        .collect();
    for turn in &running {
        counts[number(turn) as usize - 1] += 1;
    }
    assert_eq!(counts, [30, 10]);
    drop(running);
    // One after the other.
    for _ in 0..40 {
        let turn = masters
            .next(&mut Route::new(None, Arc::default()), NOW)
            .unwrap();
        counts[number(&turn) as usize - 1] += 1;
    }
    assert_eq!(counts, [60, 20]);
    assert_eq!(masters.in_flight(), 0);
}

#[test]
fn the_concentration_limit_is_soft() {
    let masters = masters([
        MasterParts {
            discount: discount(90),
            most_share: MostShare::percent(60),
            ..parts(1)
        },
        parts(2),
    ]);
    let mut counts = [0, 0];
    for _ in 0..400 {
        let turn = masters
            .next(&mut Route::new(None, Arc::default()), NOW)
            .unwrap();
        counts[number(&turn) as usize - 1] += 1;
    }
    assert!((230..=245).contains(&counts[0]), "{counts:?}");
    put_aside(&masters, 1, BAD);
    let turn = masters
        .next(&mut Route::new(None, Arc::default()), NOW)
        .unwrap();
    assert_eq!(number(&turn), 1);
}

#[test]
fn a_bad_key_is_put_aside_alone() {
    let masters = masters([MasterParts {
        keys: vec![
            (Uuid::from_u128(10), "a".into()),
            (Uuid::from_u128(11), "b".into()),
        ],
        ..parts(1)
    }]);
    let first = masters
        .next(&mut Route::new(None, Arc::default()), NOW)
        .unwrap();
    let bad = first.on.key.id;
    let second = masters
        .next(&mut Route::new(None, Arc::default()), NOW)
        .unwrap();
    assert_ne!(second.on.key.id, bad, "keys are used in turn");
    first.outcome.failed(Verdict::Key(BAD), NOW);
    second.outcome.well(NOW);
    for _ in 0..5 {
        let turn = masters
            .next(&mut Route::new(None, Arc::default()), NOW)
            .unwrap();
        assert_ne!(turn.on.key.id, bad);
    }
    let again = NOW.plus_seconds(60);
    let keys: Vec<_> = (0..2)
        .map(|_| {
            masters
                .next(&mut Route::new(None, Arc::default()), again)
                .unwrap()
        })
        .map(|turn| {
            let key = turn.on.key.id;
            turn.outcome.well(again);
            key
        })
        .collect();
    assert!(keys.contains(&bad), "it gets its probe");
}

#[test]
fn what_changes_about_an_account_does_not_make_it_well() {
    let masters = masters([parts(1)]);
    put_aside(&masters, 0, BAD);
    let changed = |status| {
        let parts = MasterParts {
            status,
            discount: discount(10),
            ..parts(1)
        };
        Master::new(parts, Some(&masters.all()[0])).unwrap()
    };
    let paused = changed(MasterAccountStatus::Paused);
    assert!(paused.is_open(NOW) && changed(MasterAccountStatus::Active).is_open(NOW));
    let resumed = Master::new(parts(1), Some(&paused)).unwrap();
    assert!(!resumed.is_open(NOW), "resumed, it begins anew");
}

proptest! {
    /// Whatever the accounts are like, a request asks each at most once, and all that are well.
    #[test]
    fn each_is_asked_once(
        states in prop::collection::vec((0..100_i64, 0..3_u8, any::<bool>(), 1..5_i64), 1..12),
        price in 0..100_i64,
    ) {
        let masters = masters(states.iter().zip(1..).map(|((percent, status, _, weight), number)| {
            MasterParts {
                discount: discount(*percent),
                status: match status {
                    0 => MasterAccountStatus::Active,
                    1 => MasterAccountStatus::Draining,
                    _ => MasterAccountStatus::Paused,
                },
                weight: Weight::new(*weight).unwrap(),
                ..parts(number)
            }
        }));
        for (index, (_, _, is_bad, _)) in states.iter().enumerate() {
            if *is_bad {
                put_aside(&masters, index, BAD);
            }
        }
        let mut asked = order(&masters, Some(Decimal::new(price, 2)));
        let count = asked.len();
        asked.sort_unstable();
        asked.dedup();
        prop_assert_eq!(asked.len(), count);
        let well = states.iter().filter(|(_, status, is_bad, _)| *status < 2 && !is_bad).count();
        let bad = states.iter().any(|(_, status, is_bad, _)| *status < 2 && *is_bad);
        prop_assert_eq!(count, well + usize::from(bad));
        prop_assert_eq!(masters.in_flight(), 0);
    }
}

/// Accounts 1 at OpenRouter, 2 and 3 at compatible servers, all with the same discount.
fn of_both_kinds() -> Masters {
    masters((1..=3).map(|number| MasterParts {
        kind: match number {
            1 => UpstreamKind::OpenRouter,
            _ => UpstreamKind::Compatible,
        },
        ..parts(number)
    }))
}

fn order_among(masters: &Masters, price_share: Option<Decimal>, servers: Servers) -> Vec<u128> {
    let mut route = Route::new(price_share, Arc::new(servers));
    std::iter::from_fn(|| {
        let turn = masters.next(&mut route, NOW)?;
        let number = number(&turn);
        turn.outcome.failed(Verdict::NotTheirs, NOW);
        Some(number)
    })
    .collect()
}

#[test]
fn a_server_is_asked_only_for_what_it_offers_and_by_what_it_really_costs() {
    let masters = of_both_kinds();
    let tenths = |tenths| Decimal::new(tenths, 1);
    let order = |servers| order_among(&masters, Some(tenths(8)), servers);
    assert_eq!(order(Servers::default()), [1]);
    assert_eq!(order(Servers::of(None, &[(2, 0, Decimal::ONE)])), [2]);
    assert_eq!(order(Servers::of(None, &[])), Vec::<u128>::new());
    let cheap_and_dear = [(2, 0, tenths(12)), (3, 0, tenths(9))];
    assert_eq!(order(Servers::of(Some(0), &cheap_and_dear)), [3, 1, 2]);
    // The preferred model goes before the price.
    let fallback = [(2, 1, tenths(1)), (3, 0, tenths(12))];
    assert_eq!(order(Servers::of(Some(0), &fallback)), [1, 3, 2]);
    assert_eq!(order(Servers::of(Some(1), &fallback)), [3, 2, 1]);
}

#[test]
fn a_server_without_a_discount_is_asked_after_those_with_a_margin() {
    let mut parts: Vec<_> = (1..=2).map(parts).collect();
    parts[1].kind = UpstreamKind::Compatible;
    parts[1].discount = discount(0);
    let masters = masters(parts);
    // It costs less than OpenRouter, but is sold at its own list price, of which nothing is left.
    let cheap = || Servers::of(Some(0), &[(2, 0, Decimal::new(2, 1))]);
    assert_eq!(
        order_among(&masters, Some(Decimal::new(8, 1)), cheap()),
        [1, 2]
    );
    assert_eq!(order_among(&masters, None, cheap()), [2, 1]);
}
