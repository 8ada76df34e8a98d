//! What clients may ask about their own use.

use std::sync::Arc;

use airouter_billing::event::Payment;
use airouter_billing::{Nanos, Period, Quantity};

use super::world::{START, World, charge, new_person};
use crate::Store;
use crate::clients::NewCap;
use crate::reports::KeyLimit;
use crate::settlements::CommitBatch;

/// What a key spent, ever and in the periods that contain now, and what is left of its own limit.
pub async fn a_keys_usage_is_reported(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let cap = NewCap {
        quantity: Quantity::Nanos,
        period: Period::Month,
        cap: 1_000,
    };
    let client = world.client(new_person(Payment::Metered), vec![cap]).await;
    let budget = world.snapshot(&client).await.budgets[0];
    world.lease(budget, 160).await;
    let days_ago = |days: i64| START.plus_seconds(-days * 86_400);
    // Friday the 20th: yesterday is this week, ten days ago this month, thirty days ago neither.
    let events = [0, 1, 10, 30].map(|days| {
        let mut event = world.event_at(&client, "0.00000005", days_ago(days));
        event.charges = vec![charge(budget, 40, 0)];
        event
    });
    world.commit(events.to_vec()).await;
    let usage = world.store.key_usage(client.key, START).await.unwrap();
    assert_eq!(usage.total, Nanos::new(160));
    assert_eq!(usage.daily, Nanos::new(40));
    assert_eq!(usage.weekly, Nanos::new(80));
    assert_eq!(usage.monthly, Nanos::new(120));
    assert_eq!(
        usage.limit,
        Some(KeyLimit {
            cap: Nanos::new(1_000),
            remaining: Nanos::new(840),
            period: Period::Month,
        })
    );
    let unused = world.prepaid(0).await;
    let usage = world.store.key_usage(unused.key, START).await.unwrap();
    assert_eq!((usage.total, usage.limit), (Nanos::ZERO, None));
}

/// A request is shown to who paid for it, by either of its ids.
pub async fn a_generation_is_found_by_its_payer_only(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (client, other) = (world.prepaid(1_000).await, world.prepaid(1_000).await);
    world.lease(client.balance(), 80).await;
    let mut event = world.event(&client, "0.0000001");
    event.charges = vec![charge(client.balance(), 80, 0)];
    let request = event.request.id;
    let generation = event.served.generation_id.clone().unwrap();
    world.commit(vec![event.clone()]).await;
    for id in [generation.clone(), request.to_string()] {
        let found = world.store.generation(client.account, &id).await.unwrap();
        let found = found.expect("the payer sees it");
        assert_eq!(found.generation_id, generation);
        assert_eq!(found.request, request);
        assert_eq!(Some(found.model), event.served.model);
        assert_eq!(found.provider, event.served.provider);
        assert_eq!(found.tokens, event.tokens);
        assert_eq!(found.charged, Nanos::new(80));
        assert_eq!(found.delivery, event.request.delivery);
        assert_eq!(found.ending, event.ending);
        assert_eq!(found.finished_at, event.finished_at);
        assert_eq!(found.first_byte_micros, event.first_byte_micros);
        let hidden = world.store.generation(other.account, &id).await.unwrap();
        assert_eq!(hidden, None);
    }
    let unknown = world.store.generation(client.account, "gen-x").await;
    assert_eq!(unknown.unwrap(), None);
}

/// Who pays for a request learns that what it cost is still to be found out, and nobody else.
pub async fn a_generation_is_pending_until_it_is_settled(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (client, other) = (world.prepaid(1_000).await, world.prepaid(1_000).await);
    world.lease(client.balance(), 80).await;
    let pending = world.pending(&client, vec![charge(client.balance(), 80, 0)]);
    let generation = pending.served.generation_id.clone().unwrap();
    let is_pending = async |payer, generation: &str| {
        let pending = world.store.is_generation_pending(payer, generation).await;
        pending.unwrap()
    };
    assert!(!is_pending(client.account, &generation).await);
    let batch = CommitBatch {
        pending: vec![pending.clone()],
        ..CommitBatch::default()
    };
    let committed = world.store.commit(world.replica, &batch, START).await;
    committed.unwrap();
    assert!(is_pending(client.account, &generation).await);
    assert!(!is_pending(other.account, &generation).await);
    assert!(!is_pending(client.account, "gen-x\0").await);
    let mut event = world.event(&client, "0.0000001");
    event.request = pending.request;
    event.served = pending.served;
    event.charges = vec![charge(client.balance(), 80, 0)];
    world.commit(vec![event]).await;
    assert!(!is_pending(client.account, &generation).await);
}
