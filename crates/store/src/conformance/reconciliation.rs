//! Comparisons with upstreams: what is booked, which days are taken, and what is found is posted once.

use std::sync::Arc;

use airouter_billing::event::LossReason;
use airouter_billing::reconciliation::{
    About, BookedRequest, FindingKey, Observed, Purse, Span, Spend,
};
use airouter_billing::usage::Inference;
use airouter_billing::{MasterAccountId, Nanos, RequestId, UtcDay};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::world::{START, World, charge, lost, new_master};
use crate::Store;
use crate::reconciliation::{ReconciledDay, UpstreamReading};

fn today() -> UtcDay {
    UtcDay::of(START)
}

fn usd(nanos: i64) -> Decimal {
    Decimal::new(nanos, 9)
}

async fn booked(world: &World, account: MasterAccountId, during: Span) -> Vec<BookedRequest> {
    let mut requests = Vec::new();
    let mut take = |request| {
        requests.push(request);
        Ok(())
    };
    world
        .store
        .booked_requests(account, during, &mut take)
        .await
        .unwrap();
    requests
}

/// Every request of an account is told once, whoever pays for it, and a corrected one as the correction says.
pub async fn booked_requests_are_told_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000_000).await;
    let mut at_provider = world.event(&client, "0.000001");
    at_provider.inference = Inference::OwnProviderKey {
        upstream_cost: usd(500),
    };
    at_provider.list_cost = usd(1_500);
    let exact = world.event(&client, "0.00000012345678901234");
    let failed = lost(world.event(&client, "0.000003"), LossReason::FailedAttempt);
    world
        .commit(vec![at_provider.clone(), exact.clone(), failed.clone()])
        .await;
    let corrected = world.corrected(&client, "0.000004").await;
    let all = [&at_provider, &exact, &failed, &corrected];
    let mut expected: Vec<_> = all
        .into_iter()
        .map(|event| BookedRequest {
            request: event.request.id,
            generation_id: event.served.generation_id.clone(),
            spend: Spend {
                credits: event.reported_cost,
                at_provider: match event.inference {
                    Inference::Credits => Decimal::ZERO,
                    Inference::OwnProviderKey { upstream_cost } => upstream_cost,
                },
            },
            admitted_at: event.request.admitted_at,
            finished_at: event.finished_at,
        })
        .collect();
    expected.sort_by(|left, right| left.generation_id.cmp(&right.generation_id));
    let day = Span::day(today());
    assert_eq!(booked(&world, world.master, day).await, expected);
    assert_eq!(
        booked(&world, MasterAccountId::new(Uuid::now_v7()), day).await,
        []
    );
    for empty in [
        Span {
            from: day.from,
            to: START,
        },
        Span {
            from: START.plus_seconds(1),
            to: day.to,
        },
    ] {
        assert_eq!(booked(&world, world.master, empty).await, []);
    }
}

/// What ran at some time of a span is told; those that are booked twice follow one another.
pub async fn requests_of_a_span_are_those_that_ran_in_it(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000_000).await;
    let long = world.event_at(&client, "0.000001", START.plus_seconds(100));
    let mut twin = world.event(&client, "0.000002");
    twin.served
        .generation_id
        .clone_from(&long.served.generation_id);
    let other = world.event(&client, "0.000003");
    world.commit(vec![long.clone()]).await;
    world.commit(vec![other, twin.clone()]).await;
    let during = Span {
        from: START,
        to: START.plus_seconds(1),
    };
    let told = booked(&world, world.master, during).await;
    assert_eq!(told.len(), 3);
    let ids: Vec<_> = told.iter().map(|request| request.request).collect();
    let first = ids.iter().position(|id| *id == long.request.id).unwrap();
    assert_eq!(ids.get(first + 1), Some(&twin.request.id));
    let later = Span {
        from: START.plus_seconds(50),
        to: START.plus_seconds(60),
    };
    let told = booked(&world, world.master, later).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].request, long.request.id);
}

/// A day has one owner at a time, until it is done.
pub async fn a_day_is_compared_by_one(store: Arc<dyn Store>) {
    let (account, other) = (new_master("a").id, new_master("b").id);
    let claim = async |account, seconds: i64| {
        let now = START.plus_seconds(seconds);
        store
            .claim_day(account, today(), now, now.plus_seconds(60))
            .await
            .unwrap()
    };
    assert!(claim(account, 0).await);
    assert!(!claim(account, 59).await);
    assert!(claim(other, 59).await);
    assert!(claim(account, 60).await);
    assert_eq!(store.reconciled_day(account, today()).await.unwrap(), None);
    for (seconds, carried) in [(70, 5), (90, -7)] {
        let closed = ReconciledDay {
            carried: Spend {
                credits: usd(carried),
                at_provider: Decimal::new(1, 28),
            },
            reconciled_at: START.plus_seconds(seconds),
        };
        store.close_day(account, today(), &closed).await.unwrap();
        let known = store.reconciled_day(account, today()).await.unwrap();
        assert_eq!(known, Some(closed));
    }
    assert!(!claim(account, 1_000).await);
    let before = today().plus(-1);
    assert_eq!(store.reconciled_day(account, before).await.unwrap(), None);
}

fn observed(account: MasterAccountId, about: About, difference: i64) -> Observed {
    Observed {
        key: FindingKey {
            master_account: account,
            day: today(),
            about,
            purse: Purse::Credits,
        },
        ours: usd(1_000),
        theirs: Some(usd(1_000 + difference)),
        difference: Nanos::new(difference),
        cost_share: Decimal::new(3, 1),
    }
}

/// What is observed again is entered once; what changes gets another entry, and the ledger has their sum.
pub async fn a_finding_is_posted_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let account = world.master;
    let request = About::Request(RequestId::new(Uuid::now_v7()));
    let record = async |about: &About, difference| {
        let observed = observed(account, about.clone(), difference);
        world.store.record_finding(&observed, START).await.unwrap()
    };
    assert_eq!(record(&About::Day, 0).await, None);
    let first = record(&About::Day, 100).await.unwrap();
    assert_eq!(
        (first.number, first.difference, first.cost),
        (1, Nanos::new(100), Nanos::new(30))
    );
    assert!(first.transaction.is_some());
    assert_eq!(record(&About::Day, 100).await, None);
    let other = record(&request, -40).await.unwrap();
    assert_eq!((other.number, other.cost), (1, Nanos::new(-12)));
    let doubled = record(&About::Doubled("gen-1".to_owned()), 1)
        .await
        .unwrap();
    assert_eq!((doubled.cost, doubled.transaction), (Nanos::ZERO, None));
    let second = record(&About::Day, 0).await.unwrap();
    assert_eq!(
        (second.number, second.difference, second.cost),
        (2, Nanos::new(-100), Nanos::new(-30))
    );
    assert_eq!(record(&About::Day, 0).await, None);
    let all = world.store.findings(today()).await.unwrap();
    assert_eq!(all, [first, other, doubled, second]);
    let later = world.store.findings(today().plus(1)).await.unwrap();
    assert_eq!(later, []);
    world.assert_adds_up(0).await;
}

/// A finding keeps its digits, and that the upstream knew nothing.
pub async fn a_finding_keeps_what_it_rests_on(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let observed = Observed {
        ours: Decimal::new(123_456_789_012_345, 20),
        theirs: None,
        key: FindingKey {
            purse: Purse::Provider,
            ..observed(world.master, About::Keys, 0).key
        },
        ..observed(world.master, About::Keys, -7)
    };
    let recorded = world.store.record_finding(&observed, START).await.unwrap();
    let recorded = recorded.unwrap();
    assert_eq!((recorded.ours, recorded.theirs), (observed.ours, None));
    assert_eq!(world.store.findings(today()).await.unwrap(), [recorded]);
}

/// However many observe it at once, it is entered once.
pub async fn of_many_that_find_the_same_one_posts(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let observed = observed(world.master, About::Day, 1_000);
    let mut waiting: Vec<_> = (0..20)
        .map(|_| Box::pin(world.store.record_finding(&observed, START)))
        .collect();
    let mut entered = 0;
    std::future::poll_fn(|context| {
        waiting.retain_mut(|recording| match recording.as_mut().poll(context) {
            std::task::Poll::Ready(recorded) => {
                entered += usize::from(recorded.unwrap().is_some());
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    assert_eq!(entered, 1);
    world.assert_adds_up(0).await;
}

/// A request with what reconciliation found beside it adds up.
pub async fn findings_and_usage_add_up(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000_000).await;
    for step in 0..3 {
        let mut event = world.event(&client, "0.000001");
        event.charges = vec![charge(client.balance(), 0, event.price.get())];
        world.commit(vec![event]).await;
        let observed = observed(world.master, About::Day, 10 * (step + 1));
        world.store.record_finding(&observed, START).await.unwrap();
    }
    world.assert_adds_up(3).await;
}

/// Readings come back as they were taken.
pub async fn upstream_readings_are_kept(store: Arc<dyn Store>) {
    let (account, other) = (new_master("a").id, new_master("b").id);
    let reading = |source: &str, nanos, seconds| UpstreamReading {
        source: source.to_owned(),
        used: Spend {
            credits: usd(nanos),
            at_provider: Decimal::new(7, 12),
        },
        taken_at: START.plus_seconds(seconds),
    };
    let (first, second) = (reading("credits", 5, 0), reading("keys", 9, 60));
    for one in [&second, &first] {
        store.add_upstream_reading(account, one).await.unwrap();
    }
    let known = store.upstream_readings(account, START).await.unwrap();
    assert_eq!(known, [first, second.clone()]);
    let known = store
        .upstream_readings(account, START.plus_seconds(1))
        .await;
    assert_eq!(known.unwrap(), [second]);
    assert_eq!(store.upstream_readings(other, START).await.unwrap(), []);
}
