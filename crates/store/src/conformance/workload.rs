//! Random workloads, each the same in every run: whatever happens, nothing is overdrawn and everything adds up.

use std::collections::HashMap;
use std::sync::Arc;

use airouter_billing::budget::BudgetSlot;
use airouter_billing::event::{LossReason, Payment};
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{BudgetId, BudgetRef, Nanos, Period, Quantity, UsageEvent};

use super::world::{Client, START, World, lost, new_person};
use crate::Store;
use crate::clients::NewCap;
use crate::leases::LeaseRequest;

/// xorshift64*: enough to choose what happens next.
pub(super) struct Choices(pub(super) u64);

impl Choices {
    pub(super) fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = i64::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap();
        high % bound
    }
}

/// A client with its budgets, and what the replica believes to have leased of each.
struct Spender {
    client: Client,
    budgets: Vec<BudgetRef>,
    leased: HashMap<BudgetSlot, i64>,
}

async fn spenders(world: &World) -> Vec<Spender> {
    let mut spenders = Vec::new();
    for (payment, tier) in [
        (Payment::Prepaid, None),
        (Payment::Prepaid, Some("free")),
        (Payment::Metered, Some("standard")),
        (Payment::Metered, None),
    ] {
        let mut person = new_person(payment);
        person.tier = tier.map(str::to_owned);
        person.caps = vec![NewCap {
            quantity: Quantity::Requests,
            period: Period::Day,
            cap: 200,
        }];
        let key_cap = NewCap {
            quantity: Quantity::Nanos,
            period: Period::Week,
            cap: 20_000,
        };
        let client = world.client(person, vec![key_cap]).await;
        if payment == Payment::Prepaid {
            world.adjust(&client, 10_000).await;
        }
        let budgets = world.snapshot(&client).await.budgets.to_vec();
        spenders.push(Spender {
            client,
            budgets,
            leased: HashMap::new(),
        });
    }
    spenders
}

/// A request at a random price, paid out of what is leased, as far as it goes.
fn request(world: &World, spender: &mut Spender, choices: &mut Choices) -> UsageEvent {
    let nanos = choices.below(400);
    let mut event = world.event(&spender.client, &format!("0.000000{nanos:03}"));
    let price = event.price.get();
    let over = choices.below(50);
    for budget in &spender.budgets {
        let slot = budget.slot(START);
        let needed = match budget.quantity {
            Quantity::Requests => 1,
            Quantity::Nanos => price,
        };
        let leased = spender.leased.entry(slot).or_default();
        // Sometimes the whole hold comes back with the event.
        let from_lease = (*leased).min(
            needed
                + if budget.quantity == Quantity::Nanos {
                    over
                } else {
                    0
                },
        );
        *leased -= from_lease;
        event.charges.push(BudgetCharge {
            slot,
            quantity: budget.quantity,
            from_lease,
            excess: (needed - from_lease).max(0),
        });
    }
    match choices.below(12) {
        0 => lost(event, LossReason::Crash),
        1 => lost(event, LossReason::FailedAttempt),
        _ => event,
    }
}

/// Leases, requests, replays, credits, debits, returns and restarts in random order.
pub async fn a_random_workload_adds_up(store: Arc<dyn Store>) {
    let mut world = World::new(store).await;
    let mut choices = Choices(0x5EED);
    let mut spenders = spenders(&world).await;
    let mut committed: Vec<UsageEvent> = Vec::new();
    for step in 0..400 {
        let spender = usize::try_from(choices.below(4)).unwrap();
        let spender = &mut spenders[spender];
        match choices.below(20) {
            0..6 => {
                let budget = usize::try_from(choices.below(64)).unwrap() % spender.budgets.len();
                let budget = spender.budgets[budget];
                let wish = choices.below(1_000);
                let request = LeaseRequest {
                    slot: world.slot(budget),
                    at_least: wish / 2,
                    wish,
                };
                let grant = world.store.lease(world.replica, request, START).await;
                *spender.leased.entry(budget.slot(START)).or_default() +=
                    grant.unwrap().grant.amount;
            }
            6..15 => {
                let count = 1 + choices.below(8);
                let mut events: Vec<_> = (0..count)
                    .map(|_| request(&world, spender, &mut choices))
                    .collect();
                world.commit(events.clone()).await;
                committed.append(&mut events);
            }
            15 => {
                let amounts: Vec<_> = spender.leased.drain().collect();
                world
                    .store
                    .give_back(world.replica, &amounts)
                    .await
                    .unwrap();
            }
            16 if !committed.is_empty() => world.commit(committed.clone()).await,
            17 if spender.client.payment == Payment::Prepaid => {
                let amount = choices.below(4_000) - 2_000;
                if amount != 0 {
                    world.adjust(&spender.client, amount).await;
                }
            }
            18 => {
                // The replica dies; what it still had is committed by its successor in vain.
                world.replica = world.store.register_replica(START).await.unwrap();
            }
            _ => world.store.renew(world.replica, START).await.unwrap(),
        }
        if step % 40 == 39 {
            let events = u64::try_from(committed.len()).unwrap();
            world.assert_adds_up(events).await;
        }
    }
    for spender in &spenders {
        let balance = world.balance(&spender.client).await;
        assert!(balance.balance >= balance.reserved);
        assert!(balance.lifetime_spent > Nanos::ZERO);
    }
}

/// A balance of exactly six holds, a hundred that want one at once: six get it.
pub async fn concurrent_leases_never_overdraw(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(6 * 80).await;
    let request = LeaseRequest {
        slot: world.slot(client.balance()),
        at_least: 80,
        wish: 80,
    };
    let mut waiting: Vec<_> = (0..100)
        .map(|_| Box::pin(world.store.lease(world.replica, request, START)))
        .collect();
    let mut grants = Vec::new();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|lease| match lease.as_mut().poll(context) {
            std::task::Poll::Ready(grant) => {
                grants.push(grant.unwrap().grant.amount);
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
    grants.sort_unstable();
    assert_eq!(grants[..94], [0; 94]);
    assert_eq!(grants[94..], [80; 6]);
    let id = BudgetId::Balance(client.account);
    assert_eq!(world.free(client.balance()).await, 0, "{id:?}");
    world.assert_adds_up(0).await;
}
