//! What is given back of single requests.

use std::sync::Arc;

use airouter_billing::event::{LossReason, Payment};
use airouter_billing::refund::RefundTooLarge;
use airouter_billing::{BudgetId, Nanos, RequestId, UsageEvent};
use uuid::Uuid;

use super::client_admin::entry;
use super::world::{Client, ENTRIES, START, World, charge, lost, new_person};
use crate::client_admin::{Booked, IdempotencyKey};
use crate::clients::{Change, ChangePosition};
use crate::refunds::{BookedRefund, RefundOrder, Refunding};
use crate::requests::{OutcomeFilter, RequestFilter, RequestQuery};
use crate::{Store, StoreError};

pub(super) fn order(request: RequestId, amount: Option<i64>) -> RefundOrder {
    let mut audit = entry(
        airouter_billing::AccountId::new(request.get()),
        "request.refund",
    );
    audit.reason = Some("broken answer".to_owned());
    RefundOrder {
        request,
        amount: amount.map(Nanos::new),
        reason: "broken answer".to_owned(),
        actor: "admin@example.com".to_owned(),
        at: START,
        audit,
        idempotency: None,
    }
}

async fn refund(world: &World, request: RequestId, amount: Option<i64>) -> Refunding {
    let order = order(request, amount);
    world.store.refund(&order).await.unwrap()
}

pub(super) fn booked(refunding: Refunding) -> BookedRefund {
    match refunding {
        Refunding::Booked(Booked::Yes(booked)) => booked,
        other => panic!("{other:?}"),
    }
}

fn too_large(left: i64) -> Refunding {
    Refunding::TooLarge(RefundTooLarge {
        left: Nanos::new(left),
    })
}

/// A settled request of this client that was charged $0.0008, as far as it has so much.
async fn charged(world: &World, client: &Client) -> UsageEvent {
    let mut event = world.event(client, "0.001");
    if client.payment == Payment::Prepaid {
        event.charges = vec![charge(client.balance(), 0, event.price.get())];
    }
    assert_eq!(event.price, Nanos::new(800_000));
    world.commit(vec![event.clone()]).await;
    event
}

async fn balance(world: &World, client: &Client) -> i64 {
    world.balance(client).await.balance.get()
}

/// A refund is a transaction of its own, for all that is left or a part of it, and never for more.
pub async fn a_refund_gives_back_what_was_charged(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000_000).await;
    let request = charged(&world, &client).await.request.id;
    assert_eq!(balance(&world, &client).await, 200_000);
    let part = booked(refund(&world, request, Some(300_000)).await);
    assert_eq!((part.amount.get(), part.refunded.get()), (300_000, 300_000));
    assert_eq!(balance(&world, &client).await, 500_000);
    assert_eq!(
        refund(&world, request, Some(500_001)).await,
        too_large(500_000)
    );
    let rest = booked(refund(&world, request, None).await);
    assert_eq!((rest.amount.get(), rest.refunded.get()), (500_000, 800_000));
    assert_eq!(balance(&world, &client).await, 1_000_000);
    for amount in [None, Some(1), Some(0), Some(-1)] {
        assert_eq!(refund(&world, request, amount).await, too_large(0));
    }

    let told = world.store.request(request).await.unwrap().unwrap();
    assert_eq!(told.refunded.get(), 800_000);
    let refunds = world.store.refunds(request).await.unwrap();
    let listed: Vec<_> = refunds
        .iter()
        .map(|refund| (refund.transaction, refund.amount.get()))
        .collect();
    assert_eq!(
        listed,
        [(part.transaction, 300_000), (rest.transaction, 500_000)]
    );
    assert!(part.transaction > told.transaction);
    assert_eq!(refunds[0].reason, "broken answer");
    assert_eq!(refunds[0].actor, "admin@example.com");
    assert_eq!(refunds[0].at, START);
    let query = RequestQuery {
        filter: RequestFilter {
            outcome: Some(OutcomeFilter::Refunded),
            ..RequestFilter::default()
        },
        after: None,
        limit: 10,
    };
    assert_eq!(world.store.requests(&query).await.unwrap().requests, [told]);

    let log = world.store.audit_log(ENTRIES, 10).await.unwrap();
    let json = |amount: &str| Some(format!(r#"{{"refunded":"{amount}"}}"#));
    let changes: Vec<_> = log
        .iter()
        .map(|record| (record.entry.before.clone(), record.entry.after.clone()))
        .collect();
    assert_eq!(
        changes,
        [
            (json("0"), json("0.0003")),
            (json("0.0003"), json("0.0008"))
        ]
    );
    assert_eq!(log[0].entry.subject, request.get());
    world.assert_adds_up(1).await;
}

/// What was not charged is not refunded.
pub async fn only_charges_are_refunded(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(500_000).await;
    let partly = charged(&world, &client).await.request.id;
    assert_eq!(
        refund(&world, partly, Some(500_001)).await,
        too_large(500_000)
    );
    let loss = lost(world.event(&client, "0.001"), LossReason::Crash);
    world.commit(vec![loss.clone()]).await;
    assert_eq!(refund(&world, loss.request.id, None).await, too_large(0));
    let unknown = order(RequestId::new(Uuid::now_v7()), None);
    assert!(matches!(
        world.store.refund(&unknown).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!(
        booked(refund(&world, partly, None).await).amount.get(),
        500_000
    );
    assert_eq!(world.store.audit_log(ENTRIES, 10).await.unwrap().len(), 1);
    world.assert_adds_up(2).await;
}

/// What a refund gives back can be spent at once, and caches are told.
pub async fn what_is_refunded_is_free_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(800_000).await;
    let request = charged(&world, &client).await.request.id;
    assert_eq!(world.free(client.balance()).await, 0);
    let nowhere = ChangePosition::default();
    let before = world.store.changes_since(&nowhere).await.unwrap();
    refund(&world, request, None).await;
    let told = world.store.changes_since(&before.position).await.unwrap();
    let balance = Change::Budget(BudgetId::Balance(client.account));
    assert_eq!(told.changes, [balance]);
    assert_eq!(world.free(client.balance()).await, 800_000);
}

/// What an account owes is paid first, and what a metered one owes is less afterwards.
pub async fn a_refund_pays_what_is_owed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(800_000).await;
    let request = charged(&world, &client).await.request.id;
    world.adjust(&client, -300_000).await;
    assert_eq!(balance(&world, &client).await, 0);
    refund(&world, request, Some(200_000)).await;
    assert_eq!(balance(&world, &client).await, 0);
    refund(&world, request, None).await;
    assert_eq!(balance(&world, &client).await, 500_000);
    let metered = world.client(new_person(Payment::Metered), Vec::new()).await;
    let request = charged(&world, &metered).await.request.id;
    let refunded = booked(refund(&world, request, None).await);
    assert_eq!(refunded.amount.get(), 800_000);
    assert_eq!(balance(&world, &metered).await, 0);
    assert_eq!(refund(&world, request, None).await, too_large(0));
    world.assert_adds_up(2).await;
}

/// The charge of a request whose loss was corrected is that of its correction.
pub async fn a_corrected_request_is_refunded(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000_000).await;
    let event = world.corrected(&client, "0.001").await;
    let refunded = booked(refund(&world, event.request.id, None).await);
    assert_eq!(refunded.amount, event.price);
    assert_eq!(balance(&world, &client).await, 1_000_000);
    world.assert_adds_up(1).await;
}

/// One key, one refund; and of many at once, no more than was charged.
pub async fn a_refund_is_booked_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let admin = new_person(Payment::Prepaid);
    world.store.create_person(&admin).await.unwrap();
    let client = world.prepaid(800_000).await;
    let request = charged(&world, &client).await.request.id;
    let keyed = |amount: i64, key: &str| {
        let mut order = order(request, Some(amount));
        order.idempotency = Some(IdempotencyKey {
            user: admin.user,
            key: key.to_owned(),
            request: [u8::try_from(amount / 100_000).unwrap(); 32],
        });
        order
    };
    let first = world.store.refund(&keyed(100_000, "a")).await.unwrap();
    booked(first);
    assert_eq!(
        world.store.refund(&keyed(100_000, "a")).await.unwrap(),
        first
    );
    let other = world.store.refund(&keyed(200_000, "a")).await.unwrap();
    assert_eq!(other, Refunding::Booked(Booked::OtherRequest));
    let many = (0..16).map(|number| {
        let (store, order) = (
            Arc::clone(&world.store),
            keyed(100_000, &format!("of many {}", number / 2)),
        );
        async move { store.refund(&order).await.unwrap() }
    });
    for outcome in futures_util::future::join_all(many).await {
        match outcome {
            Refunding::Booked(Booked::Yes(booked)) => assert!(booked.refunded.get() <= 800_000),
            Refunding::Booked(Booked::Running) => {}
            other => assert_eq!(other, too_large(0)),
        }
    }
    let told = world.store.request(request).await.unwrap().unwrap();
    assert_eq!(told.refunded.get(), 800_000);
    assert_eq!(world.store.refunds(request).await.unwrap().len(), 8);
    assert_eq!(balance(&world, &client).await, 800_000);
    world.assert_adds_up(1).await;
}
