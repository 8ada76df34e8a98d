//! Losses that are taken back, because their clients had had their answers.

use std::sync::Arc;

use airouter_billing::correction::Answers;
use airouter_billing::event::{LossReason, Payment};
use airouter_billing::recovery::PendingReason;
use airouter_billing::{BudgetRef, Nanos, Outcome, Period, Quantity, UsageEvent};

use super::world::{Client, START, World, charge, lost, new_person};
use crate::Store;
use crate::clients::NewCap;
use crate::ledger::Check;
use crate::settlements::{
    CommitBatch, Committed, Corrected, PendingRequest, RefusedEvent, Uncollected,
};

/// The list cost at which a client pays 80 nano-dollars and the operator 30.
const EIGHTY: &str = "0.0000001";
/// What another replica finds out of the same request: a client would pay 160, the operator pays 60.
const TWICE: &str = "0.0000002";

/// A request of 80 nano-dollars on a client's balance, of whose lease 80 were held.
fn eighty(world: &World, client: &Client) -> UsageEvent {
    let mut event = world.event(client, EIGHTY);
    event.charges = vec![charge(client.balance(), 80, 0)];
    event
}

/// The same request as another replica books it after a take-over: a loss, of which it knows other amounts.
fn loss_of(world: &World, client: &Client, event: &UsageEvent, reason: LossReason) -> UsageEvent {
    let mut loss = lost(world.event(client, TWICE), reason);
    loss.request = event.request.clone();
    loss.served = event.served.clone();
    if reason == LossReason::Unknown {
        (loss.cost, loss.list_cost, loss.reported_cost) = Default::default();
    }
    loss
}

async fn commit(world: &World, batch: CommitBatch) -> Committed {
    let committed = world.store.commit(world.replica, &batch, START).await;
    committed.unwrap()
}

/// Commits what its client waits for.
async fn waiting(world: &World, events: &[UsageEvent]) -> Committed {
    let batch = CommitBatch {
        events: events.to_vec(),
        ..CommitBatch::default()
    };
    commit(world, batch).await
}

/// Commits what comes from a disk.
async fn acknowledged(world: &World, events: &[UsageEvent]) -> Committed {
    let batch = CommitBatch {
        events: events.to_vec(),
        answers: Answers::Acknowledged,
        ..CommitBatch::default()
    };
    commit(world, batch).await
}

async fn assert_corrections(world: &World, events: u64, corrections: u64) {
    let verification = world.store.verify().await.unwrap();
    assert_eq!(verification.findings, []);
    assert_eq!(
        (verification.events, verification.corrections),
        (events, corrections)
    );
}

/// A client that had its answer pays, once, and the loss is taken back.
pub async fn an_acknowledged_charge_corrects_its_loss(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for reason in [LossReason::Crash, LossReason::Unknown] {
        let client = world.prepaid(1_000).await;
        let event = eighty(&world, &client);
        let loss = loss_of(&world, &client, &event, reason);
        let reversed = loss.cost;
        waiting(&world, &[loss]).await;
        assert_eq!(world.balance(&client).await.balance, Nanos::new(1_000));
        // What the request held has gone back: what is leased now is held for others.
        world.lease(client.balance(), 500).await;
        let committed = acknowledged(&world, std::slice::from_ref(&event)).await;
        let corrected = Corrected {
            request: event.request.id,
            reason,
            reversed,
            charged: Nanos::new(80),
        };
        let expected = Committed {
            corrected: vec![corrected],
            ..Committed::default()
        };
        assert_eq!(committed, expected);
        let balance = world.balance(&client).await;
        assert_eq!(balance.balance, Nanos::new(920));
        assert_eq!(balance.reserved, Nanos::new(500));
        assert_eq!(balance.lifetime_spent, Nanos::new(80));
        let usage = world.store.key_usage(client.key, START).await.unwrap();
        assert_eq!((usage.total, usage.daily), (Nanos::new(80), Nanos::new(80)));
        for id in [
            event.request.id.to_string(),
            event.served.generation_id.clone().unwrap(),
        ] {
            let found = world.store.generation(client.account, &id).await.unwrap();
            let found = found.expect("the payer sees it");
            assert_eq!(found.charged, Nanos::new(80));
            assert_eq!(found.tokens, event.tokens);
        }
    }
    assert_corrections(&world, 2, 2).await;
}

/// Landing may be repeated, a record be doubled, and two disks may hold the same.
pub async fn a_correction_that_comes_twice_is_booked_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let event = eighty(&world, &client);
    waiting(
        &world,
        &[loss_of(&world, &client, &event, LossReason::Crash)],
    )
    .await;
    let first = acknowledged(&world, &[event.clone(), event.clone()]).await;
    assert_eq!(first.corrected.len(), 1);
    let again = acknowledged(&world, std::slice::from_ref(&event)).await;
    assert_eq!(again, Committed::default());
    // Whoever still waits for it is told that it is whole.
    let late = waiting(&world, std::slice::from_ref(&event)).await;
    assert_eq!(late, Committed::default());
    assert_eq!(world.balance(&client).await.balance, Nanos::new(920));
    assert_corrections(&world, 1, 1).await;
}

/// Who still waits for its answer is told that it is not whole, and pays nothing.
pub async fn a_charge_that_is_waited_for_corrects_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let event = eighty(&world, &client);
    waiting(
        &world,
        &[loss_of(&world, &client, &event, LossReason::Crash)],
    )
    .await;
    let committed = waiting(&world, std::slice::from_ref(&event)).await;
    assert_eq!(committed.superseded, [event.request.id]);
    assert_eq!(committed.corrected, []);
    assert_eq!(world.balance(&client).await.balance, Nanos::new(1_000));
    assert_corrections(&world, 1, 0).await;
}

/// What was lost for other reasons, or charged, stays as it is; so does a loss of which only a loss comes.
pub async fn only_losses_of_a_take_over_are_corrected(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    for reason in [LossReason::FailedAttempt, LossReason::Uncollected] {
        let event = eighty(&world, &client);
        waiting(&world, &[loss_of(&world, &client, &event, reason)]).await;
        let committed = acknowledged(&world, std::slice::from_ref(&event)).await;
        assert_eq!(committed.superseded, [event.request.id]);
        assert_eq!(committed.corrected, []);
    }
    let event = eighty(&world, &client);
    let loss = loss_of(&world, &client, &event, LossReason::Unknown);
    waiting(&world, std::slice::from_ref(&loss)).await;
    let known = loss_of(&world, &client, &event, LossReason::Crash);
    assert_eq!(acknowledged(&world, &[known]).await, Committed::default());
    let charged = eighty(&world, &client);
    waiting(&world, std::slice::from_ref(&charged)).await;
    assert_eq!(acknowledged(&world, &[charged]).await, Committed::default());
    assert_eq!(world.balance(&client).await.balance, Nanos::new(920));
    assert_corrections(&world, 4, 0).await;
}

/// What is free covers a correction; the rest is a loss, and no budget is overdrawn.
pub async fn a_correction_takes_what_is_free(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    let event = eighty(&world, &client);
    waiting(
        &world,
        &[loss_of(&world, &client, &event, LossReason::Crash)],
    )
    .await;
    world.lease(client.balance(), 70).await;
    let committed = acknowledged(&world, std::slice::from_ref(&event)).await;
    let uncollected = Uncollected {
        request: event.request.id,
        amount: Nanos::new(50),
    };
    assert_eq!(committed.uncollected, [uncollected]);
    assert_eq!(committed.corrected[0].charged, Nanos::new(30));
    let balance = world.balance(&client).await;
    assert_eq!(
        (balance.balance, balance.reserved),
        (Nanos::new(70), Nanos::new(70))
    );
    assert_corrections(&world, 1, 1).await;
}

/// Budgets count a corrected request, and a batch may correct losses of several entries beside what it books.
pub async fn corrections_are_counted_and_ride_with_others(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut person = new_person(Payment::Metered);
    person.caps = vec![NewCap {
        quantity: Quantity::Requests,
        period: Period::Day,
        cap: 10,
    }];
    let cap = NewCap {
        quantity: Quantity::Nanos,
        period: Period::Month,
        cap: 1_000,
    };
    let client = world.client(person, vec![cap]).await;
    let budgets = world.snapshot(&client).await.budgets;
    let of = |quantity: Quantity| -> BudgetRef {
        let mut found = budgets.iter().filter(|budget| budget.quantity == quantity);
        *found.next().expect("the budget exists")
    };
    let (requests, nanos) = (of(Quantity::Requests), of(Quantity::Nanos));
    let event = || {
        let mut event = world.event(&client, EIGHTY);
        event.charges = vec![charge(nanos, 0, 80), charge(requests, 0, 1)];
        event
    };
    let (one, two, three, other) = (event(), event(), event(), event());
    let loss = |event: &UsageEvent| loss_of(&world, &client, event, LossReason::Crash);
    waiting(&world, &[loss(&one), loss(&two)]).await;
    waiting(&world, &[loss(&three)]).await;
    let before = world.store.verify().await.unwrap().transactions;
    let batch = [three.clone(), other, one.clone(), two.clone()];
    let committed = acknowledged(&world, &batch).await;
    assert_eq!(committed.corrected.len(), 3);
    // One entry for what is new, and one for each of the two that are corrected.
    let after = world.store.verify().await.unwrap().transactions;
    assert_eq!(after, before + 3);
    assert_eq!(world.free(requests).await, 6);
    assert_eq!(world.free(nanos).await, 1_000 - 4 * 80);
    assert_eq!(world.balance(&client).await.lifetime_spent, Nanos::new(320));
    assert_corrections(&world, 4, 3).await;
}

/// A client that had an answer without a usage is billed too: its usage is asked for again, and corrects the loss.
pub async fn an_acknowledged_answer_without_usage_is_asked_for_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let event = eighty(&world, &client);
    let mut pending = world.pending(&client, vec![charge(client.balance(), 80, 0)]);
    pending.request = event.request.clone();
    pending.reason = PendingReason::UsageUnknown;
    let comes = |pending: &PendingRequest, answers: Answers| CommitBatch {
        pending: vec![pending.clone()],
        answers,
        ..CommitBatch::default()
    };
    waiting(
        &world,
        &[loss_of(&world, &client, &event, LossReason::Crash)],
    )
    .await;
    // Who still waits is told that the answer is not whole.
    let committed = commit(&world, comes(&pending, Answers::Waiting)).await;
    assert_eq!(committed.superseded, [event.request.id]);
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    // A request that is only noted opens nothing.
    let noted = PendingRequest {
        reason: PendingReason::InFlight,
        ..pending.clone()
    };
    let committed = commit(&world, comes(&noted, Answers::Acknowledged)).await;
    assert_eq!(committed, Committed::default());
    assert_eq!(world.store.pending(10).await.unwrap(), []);

    let committed = commit(&world, comes(&pending, Answers::Acknowledged)).await;
    assert_eq!(committed, Committed::default());
    assert_eq!(
        world.store.pending(10).await.unwrap(),
        std::slice::from_ref(&pending)
    );
    assert_eq!(PendingReason::UsageUnknown.outcome(), Outcome::Charged);
    let found_out = waiting(&world, std::slice::from_ref(&event)).await;
    assert_eq!(found_out.superseded, []);
    assert_eq!(found_out.corrected.len(), 1);
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    // It does not open again.
    commit(&world, comes(&pending, Answers::Acknowledged)).await;
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    assert_eq!(world.balance(&client).await.balance, Nanos::new(920));
    assert_corrections(&world, 1, 1).await;
}

/// A loss that another replica books of an answer which ended meanwhile: that this has no usage is known first.
pub async fn a_loss_leaves_an_answer_without_usage_open(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let event = eighty(&world, &client);
    let mut pending = world.pending(&client, vec![charge(client.balance(), 80, 0)]);
    pending.request = event.request.clone();
    pending.reason = PendingReason::UsageUnknown;
    let answered = CommitBatch {
        pending: vec![pending.clone()],
        ..CommitBatch::default()
    };
    assert_eq!(commit(&world, answered).await, Committed::default());
    // What was written down while it ran comes late.
    let noted = CommitBatch {
        pending: vec![PendingRequest {
            reason: PendingReason::InFlight,
            ..pending.clone()
        }],
        ..CommitBatch::default()
    };
    assert_eq!(commit(&world, noted).await, Committed::default());
    waiting(
        &world,
        &[loss_of(&world, &client, &event, LossReason::Crash)],
    )
    .await;
    assert_eq!(world.store.pending(10).await.unwrap(), [pending]);
    let found_out = waiting(&world, std::slice::from_ref(&event)).await;
    assert_eq!(found_out.corrected.len(), 1);
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    assert_eq!(world.balance(&client).await.balance, Nanos::new(920));
    assert_corrections(&world, 1, 1).await;
}

async fn set_aside(world: &World, event: &UsageEvent, answers: Answers) -> RefusedEvent {
    let refused = RefusedEvent {
        event: event.clone(),
        answers,
        reason: "a constraint".to_owned(),
    };
    let kept = world.store.set_aside(world.replica, &refused, START).await;
    kept.unwrap();
    refused
}

/// A charge that was refused is not booked by the loss in its place if its client has had its answer; else it is.
pub async fn a_refused_charge_is_owed_beside_its_loss(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let new = || eighty(&world, &client);
    let (spooled, waiting_for, found_out, lost_twice) = (new(), new(), new(), new());
    let mut pending = world.pending(&client, vec![charge(client.balance(), 80, 0)]);
    pending.request = found_out.request.clone();
    pending.reason = PendingReason::UsageUnknown;
    let answered = CommitBatch {
        pending: vec![pending],
        ..CommitBatch::default()
    };
    commit(&world, answered).await;
    let loss = |event: &UsageEvent| loss_of(&world, &client, event, LossReason::Crash);
    let losses: Vec<_> = [&spooled, &waiting_for, &found_out, &lost_twice]
        .map(loss)
        .into();
    waiting(&world, &losses).await;

    // Nobody knows that it was set aside; it is spooled, its client gets the end, and it is set aside again.
    set_aside(&world, &spooled, Answers::Waiting).await;
    let spooled = set_aside(&world, &spooled, Answers::Acknowledged).await;
    set_aside(&world, &spooled.event, Answers::Waiting).await;
    set_aside(&world, &waiting_for, Answers::Waiting).await;
    let found_out = set_aside(&world, &found_out, Answers::Waiting).await;
    set_aside(&world, &loss(&lost_twice), Answers::Acknowledged).await;
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    let owed = RefusedEvent {
        answers: Answers::Acknowledged,
        ..found_out
    };
    assert_eq!(world.store.refused(10).await.unwrap(), [spooled, owed]);
    assert_eq!(
        world.store.refused(1).await.unwrap().len(),
        1,
        "no more than asked for"
    );
    let findings = world.findings().await;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|found| found.check == Check::Refused));

    for refused in world.store.refused(10).await.unwrap() {
        let committed = commit(&world, refused.into_batch()).await;
        assert_eq!(committed.corrected.len(), 1);
    }
    assert_eq!(world.store.refused(10).await.unwrap(), []);
    assert_eq!(world.balance(&client).await.balance, Nanos::new(840));
    assert_corrections(&world, 4, 2).await;
}
