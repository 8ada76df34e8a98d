//! Settlement.

use std::sync::Arc;

use airouter_billing::event::{LossReason, Payment};
use airouter_billing::recovery::PendingReason;
use airouter_billing::{Nanos, Period, Quantity, UsageEvent};

use super::world::{Client, START, World, charge, lost, new_person};
use crate::Store;
use crate::clients::NewCap;
use crate::settlements::CommitBatch;

/// The list cost at which a client pays 80 nano-dollars and the operator 30.
const EIGHTY: &str = "0.0000001";

/// A request of 80 nano-dollars on a client's balance.
fn eighty(world: &World, client: &Client, from_lease: i64, excess: i64) -> UsageEvent {
    let mut event = world.event(client, EIGHTY);
    assert_eq!((event.price, event.cost), (Nanos::new(80), Nanos::new(30)));
    event.charges = vec![charge(client.balance(), from_lease, excess)];
    event
}

/// The common case: the lease covers the price.
pub async fn a_charge_within_its_lease_is_paid_whole(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    world.lease(client.balance(), 500).await;
    world.commit(vec![eighty(&world, &client, 80, 0)]).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::new(920));
    assert_eq!(balance.reserved, Nanos::new(420));
    assert_eq!(balance.lifetime_spent, Nanos::new(80));
    assert_eq!(balance.lifetime_earned, Nanos::new(1_000));
    world.assert_adds_up(1).await;
}

/// A batch may be sent again, whole or in part, and an event may be in it twice.
pub async fn committing_again_changes_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    world.lease(client.balance(), 800).await;
    let first = eighty(&world, &client, 80, 0);
    let second = eighty(&world, &client, 80, 0);
    world.commit(vec![first.clone(), first.clone()]).await;
    assert_eq!(world.balance(&client).await.balance, Nanos::new(920));
    world.commit(vec![first.clone(), second.clone()]).await;
    world.commit(vec![second, first]).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::new(840));
    assert_eq!(balance.reserved, Nanos::new(640));
    world.assert_adds_up(2).await;
}

/// Many events of several clients in one batch.
pub async fn events_of_a_batch_are_summed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (rich, poor) = (world.prepaid(10_000).await, world.prepaid(400).await);
    world.lease(rich.balance(), 8_000).await;
    world.lease(poor.balance(), 400).await;
    let mut events = Vec::new();
    for _ in 0..5 {
        for client in [&rich, &poor] {
            events.push(eighty(&world, client, 80, 0));
        }
    }
    world.commit(events).await;
    assert_eq!(world.balance(&rich).await.balance, Nanos::new(9_600));
    assert_eq!(world.balance(&poor).await.balance, Nanos::ZERO);
    world.assert_adds_up(10).await;
}

/// What was reserved and is not charged returns.
pub async fn what_a_hold_leaves_is_free_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    world.lease(client.balance(), 500).await;
    world.commit(vec![eighty(&world, &client, 200, 0)]).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::new(920));
    assert_eq!(balance.reserved, Nanos::new(300));
    assert_eq!(world.free(client.balance()).await, 620);
    world.assert_adds_up(1).await;
}

/// What the lease did not cover is taken from what is free.
pub async fn an_excess_is_covered_by_what_is_free(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    world.lease(client.balance(), 50).await;
    world.commit(vec![eighty(&world, &client, 50, 30)]).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::new(20));
    assert_eq!(balance.reserved, Nanos::ZERO);
    world.assert_adds_up(1).await;
}

/// What nothing covers is the operator's loss, and no budget is overdrawn; what others have leased stays theirs.
pub async fn an_excess_beyond_what_is_free_is_a_loss(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    world.lease(client.balance(), 90).await;
    world.commit(vec![eighty(&world, &client, 30, 50)]).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::new(60));
    assert_eq!(balance.reserved, Nanos::new(60));
    assert_eq!(balance.lifetime_spent, Nanos::new(40));
    world.assert_adds_up(1).await;
}

/// A request that its lease covers is never short because of one that is not.
pub async fn excesses_are_covered_after_all_others(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(160).await;
    world.lease(client.balance(), 100).await;
    // The second leaves 20 of its lease, which the first, in front of it, gets with the 60 that are free.
    world
        .commit(vec![
            eighty(&world, &client, 0, 80),
            eighty(&world, &client, 100, 0),
        ])
        .await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::ZERO);
    assert_eq!(balance.reserved, Nanos::ZERO);
    assert_eq!(balance.lifetime_spent, Nanos::new(160));
    world.assert_adds_up(2).await;
}

/// A replica whose leases were ended still books, out of what is free.
pub async fn a_fenced_replicas_charges_are_an_excess(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    world.lease(client.balance(), 80).await;
    world.store.register_replica(START).await.unwrap();
    world
        .commit(vec![
            eighty(&world, &client, 80, 0),
            eighty(&world, &client, 80, 0),
        ])
        .await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::ZERO);
    assert_eq!(balance.reserved, Nanos::ZERO);
    assert_eq!(balance.lifetime_spent, Nanos::new(100));
    world.assert_adds_up(2).await;
}

/// Lost: the client pays nothing, its hold returns, the cost is booked.
pub async fn a_lost_request_charges_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    world.lease(client.balance(), 100).await;
    let events = LossReason::ALL
        .into_iter()
        .zip([25; 4])
        .map(|(reason, hold)| lost(eighty(&world, &client, hold, 0), reason))
        .collect();
    world.commit(events).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::new(100));
    assert_eq!(balance.reserved, Nanos::ZERO);
    assert_eq!(balance.lifetime_spent, Nanos::ZERO);
    world.assert_adds_up(4).await;
}

/// A metered account has no balance to take from; what it spends is known.
pub async fn a_metered_request_is_owed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.client(new_person(Payment::Metered), Vec::new()).await;
    world.commit(vec![world.event(&client, EIGHTY)]).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::ZERO);
    assert_eq!(balance.lifetime_spent, Nanos::new(80));
    world.assert_adds_up(1).await;
}

/// A budget of requests counts them, whatever they cost; lost ones it gets back.
pub async fn requests_are_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut person = new_person(Payment::Metered);
    person.caps = vec![NewCap {
        quantity: Quantity::Requests,
        period: Period::Day,
        cap: 10,
    }];
    let client = world.client(person, Vec::new()).await;
    let budget = world.snapshot(&client).await.budgets[0];
    world.lease(budget, 3).await;
    let request = |from_lease, excess| {
        let mut event = world.event(&client, EIGHTY);
        event.charges = vec![charge(budget, from_lease, excess)];
        event
    };
    world
        .commit(vec![
            request(1, 0),
            request(0, 1),
            lost(request(1, 0), LossReason::Crash),
        ])
        .await;
    // Two were counted, one is still leased.
    assert_eq!(world.free(budget).await, 7);
    assert_eq!(world.balance(&client).await.lifetime_spent, Nanos::new(160));
    world.assert_adds_up(3).await;
}

/// The tightest budget decides what is charged, and every budget of the chain is charged the same.
pub async fn a_key_cap_bounds_what_is_charged(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let cap = NewCap {
        quantity: Quantity::Nanos,
        period: Period::Week,
        cap: 100,
    };
    let client = world.client(new_person(Payment::Prepaid), vec![cap]).await;
    world.adjust(&client, 1_000).await;
    let key_cap = world.snapshot(&client).await.budgets[0];
    world.lease(key_cap, 80).await;
    world.lease(client.balance(), 500).await;
    let mut covered = eighty(&world, &client, 80, 0);
    covered.charges.push(charge(key_cap, 80, 0));
    let mut short = eighty(&world, &client, 80, 0);
    short.charges.push(charge(key_cap, 0, 80));
    world.commit(vec![short, covered]).await;
    let balance = world.balance(&client).await;
    assert_eq!(balance.balance, Nanos::new(900));
    assert_eq!(balance.reserved, Nanos::new(340));
    assert_eq!(world.free(key_cap).await, 0);
    world.assert_adds_up(2).await;
}

/// A pending request is kept until it is settled or forgotten.
pub async fn pending_requests_are_replaced_and_removed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    world.lease(client.balance(), 500).await;
    let mut settled = world.pending(&client, vec![charge(client.balance(), 100, 0)]);
    settled.since = START.plus_seconds(1);
    let forgotten = world.pending(&client, Vec::new());
    let batch = CommitBatch {
        pending: vec![settled.clone(), forgotten.clone()],
        ..CommitBatch::default()
    };
    let commit = |batch: CommitBatch| {
        let store = Arc::clone(&world.store);
        async move { store.commit(world.replica, &batch, START).await.unwrap() }
    };
    commit(batch).await;
    let pending = world.store.pending(10).await.unwrap();
    assert_eq!(pending, [forgotten.clone(), settled.clone()]);
    assert_eq!(world.store.pending(1).await.unwrap().len(), 1);

    settled.reason = PendingReason::UsageUnknown;
    settled.served.generation_id = Some("gen-known".to_owned());
    commit(CommitBatch {
        pending: vec![settled.clone()],
        forgotten: vec![forgotten.request.id],
        ..CommitBatch::default()
    })
    .await;
    assert_eq!(world.store.pending(10).await.unwrap(), [settled.clone()]);

    let mut event = eighty(&world, &client, 80, 0);
    event.request = settled.request.clone();
    world.commit(vec![event]).await;
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    // What comes late does not open it again.
    commit(CommitBatch {
        pending: vec![settled],
        ..CommitBatch::default()
    })
    .await;
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    world.assert_adds_up(1).await;
}
