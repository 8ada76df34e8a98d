//! Leases.

use std::sync::Arc;

use airouter_billing::event::Payment;
use airouter_billing::lease::Grant;
use airouter_billing::{BudgetId, BudgetRef, Nanos, Period, Quantity};
use uuid::Uuid;

use super::world::{Client, START, World, new_person};
use crate::Store;
use crate::clients::NewCap;
use crate::leases::LeaseRequest;

async fn capped(
    world: &World,
    quantity: Quantity,
    period: Period,
    cap: i64,
) -> (Client, BudgetRef) {
    let mut person = new_person(Payment::Metered);
    person.caps = vec![NewCap {
        quantity,
        period,
        cap,
    }];
    let client = world.client(person, Vec::new()).await;
    let budget = world.snapshot(&client).await.budgets[0];
    (client, budget)
}

/// What is needed is granted whole or not at all.
pub async fn a_lease_is_all_or_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    let refused = world.lease(client.balance(), 101).await;
    assert_eq!(
        refused,
        Grant {
            amount: 0,
            free: 100
        }
    );
    let granted = world.lease(client.balance(), 60).await;
    assert_eq!(
        granted,
        Grant {
            amount: 60,
            free: 40
        }
    );
    let refused = world.lease(client.balance(), 41).await;
    assert_eq!(
        refused,
        Grant {
            amount: 0,
            free: 40
        }
    );
    assert_eq!(world.balance(&client).await.reserved, Nanos::new(60));
    world.assert_adds_up(0).await;
}

/// Of what is only wished, a quarter of what is spare.
pub async fn a_lease_leaves_room_for_others(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let request = LeaseRequest {
        slot: world.slot(client.balance()),
        at_least: 200,
        wish: 10_000,
    };
    let granted = world
        .store
        .lease(world.replica, request, START)
        .await
        .unwrap();
    assert_eq!(
        granted.grant,
        Grant {
            amount: 400,
            free: 600
        }
    );
    world.assert_adds_up(0).await;
}

/// A cap is a cap, in money and in requests.
pub async fn leases_never_exceed_a_cap(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for quantity in [Quantity::Nanos, Quantity::Requests] {
        let (_, budget) = capped(&world, quantity, Period::Day, 3).await;
        for free in [2, 1, 0] {
            assert_eq!(world.lease(budget, 1).await, Grant { amount: 1, free });
        }
        assert_eq!(world.lease(budget, 1).await, Grant { amount: 0, free: 0 });
    }
    world.assert_adds_up(0).await;
}

/// Each period of a budget is a budget of its own.
pub async fn a_cap_starts_anew_with_its_period(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (_, budget) = capped(&world, Quantity::Requests, Period::Day, 2).await;
    assert_eq!(world.lease(budget, 2).await.amount, 2);
    let request = LeaseRequest {
        slot: budget.slot(Period::Day.end(START).unwrap()),
        at_least: 1,
        wish: 1,
    };
    world
        .store
        .renew(world.replica, START.plus_seconds(100))
        .await
        .unwrap();
    let midnight = Period::Day.end(START).unwrap();
    let tomorrow = world.store.register_replica(midnight).await.unwrap();
    let granted = world
        .store
        .lease(tomorrow, request, midnight)
        .await
        .unwrap();
    assert_eq!(granted.grant, Grant { amount: 1, free: 1 });
    world.assert_adds_up(0).await;
}

/// What is given back can be leased again; what was not leased can't be given back.
pub async fn what_is_given_back_is_free_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    let (_, cap) = capped(&world, Quantity::Nanos, Period::None, 50).await;
    world.lease(client.balance(), 80).await;
    world.lease(cap, 50).await;
    let amounts = [
        (world.slot(client.balance()), 30),
        (world.slot(cap), 20),
        (world.slot(cap), 20),
    ];
    world
        .store
        .give_back(world.replica, &amounts)
        .await
        .unwrap();
    assert_eq!(world.free(client.balance()).await, 50);
    assert_eq!(world.free(cap).await, 40);
    let too_much = [(world.slot(client.balance()), 1_000)];
    world
        .store
        .give_back(world.replica, &too_much)
        .await
        .unwrap();
    world
        .store
        .give_back(world.replica, &too_much)
        .await
        .unwrap();
    assert_eq!(world.free(client.balance()).await, 100);
    world.assert_adds_up(0).await;
}

/// Nothing is free of what does not exist.
pub async fn a_budget_that_does_not_exist_has_nothing_free(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let nowhere = Uuid::now_v7();
    for id in [
        BudgetId::Cap(nowhere),
        BudgetId::Balance(airouter_billing::AccountId::new(nowhere)),
    ] {
        let budget = BudgetRef {
            id,
            quantity: Quantity::Nanos,
            period: Period::None,
        };
        assert_eq!(world.lease(budget, 1).await, Grant { amount: 0, free: 0 });
        assert_eq!(world.lease(budget, 0).await, Grant { amount: 0, free: 0 });
    }
}
