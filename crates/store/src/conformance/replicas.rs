//! Replicas that end, and what they leave.

use std::sync::Arc;

use airouter_billing::correction::Answers;
use airouter_billing::event::LossReason;
use airouter_billing::recovery::PendingReason;
use airouter_billing::{Nanos, UsageEvent};

use super::world::{START, World, charge, lost};
use crate::leases::LeaseRequest;
use crate::ledger::{Check, Durable, TransactionMark};
use crate::settlements::{CommitBatch, PendingRequest, RefusedEvent};
use crate::{Store, StoreError};

/// The list cost at which a client pays 80 nano-dollars.
const EIGHTY: &str = "0.0000001";

/// What the leases of a replica had left is free when it has ended, and it finds out.
pub async fn an_ended_replica_frees_its_leases(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    world.lease(client.balance(), 100).await;
    world.store.renew(world.replica, START).await.unwrap();
    world.store.end_replica(world.replica, START).await.unwrap();
    world.store.end_replica(world.replica, START).await.unwrap();
    assert_eq!(world.balance(&client).await.reserved, Nanos::ZERO);
    let request = LeaseRequest {
        slot: world.slot(client.balance()),
        at_least: 100,
        wish: 100,
    };
    let fenced = world.store.lease(world.replica, request, START).await;
    assert!(matches!(fenced, Err(StoreError::Fenced)));
    let fenced = world.store.renew(world.replica, START).await;
    assert!(matches!(fenced, Err(StoreError::Fenced)));
    let second = world.store.register_replica(START).await.unwrap();
    assert!(second > world.replica);
    let granted = world.store.lease(second, request, START).await.unwrap();
    assert_eq!(granted.grant.amount, 100);
    assert_eq!(granted.elsewhere, 0);
    // What the first gives back is not the second's.
    let amounts = [(world.slot(client.balance()), 100)];
    world
        .store
        .give_back(world.replica, &amounts)
        .await
        .unwrap();
    assert_eq!(world.balance(&client).await.reserved, Nanos::new(100));
    world.assert_adds_up(0).await;
}

async fn commit_pending(world: &World, pending: &[PendingRequest]) {
    let batch = CommitBatch {
        pending: pending.to_vec(),
        ..CommitBatch::default()
    };
    world
        .store
        .commit(world.replica, &batch, START)
        .await
        .unwrap();
}

/// What a replica left open is taken over by one other, the oldest first.
pub async fn an_ended_replicas_requests_are_taken_over_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let mut open: Vec<_> = (0..5)
        .map(|seconds| {
            let mut pending = world.pending(&client, Vec::new());
            pending.since = START.plus_seconds(seconds);
            pending
        })
        .collect();
    open.reverse();
    commit_pending(&world, &open).await;
    open.reverse();
    world.store.end_replica(world.replica, START).await.unwrap();
    let heir = world.store.register_replica(START).await.unwrap();
    let first = world.store.take_over_pending(heir, 2).await.unwrap();
    assert_eq!(first, open[..2]);
    let rest = world.store.take_over_pending(heir, 10).await.unwrap();
    assert_eq!(rest, open[2..]);
    let none = world.store.take_over_pending(heir, 10).await.unwrap();
    assert_eq!(none, []);
    assert_eq!(world.store.pending(10).await.unwrap().len(), 5);
    // An heir has heirs too.
    world.store.end_replica(heir, START).await.unwrap();
    let next = world.store.register_replica(START).await.unwrap();
    let again = world.store.take_over_pending(next, 10).await.unwrap();
    assert_eq!(again, open);
}

/// Nothing is taken from a replica that runs.
pub async fn a_live_replicas_requests_stay_its_own(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    commit_pending(&world, &[world.pending(&client, Vec::new())]).await;
    let taken = world
        .store
        .take_over_pending(world.replica, 10)
        .await
        .unwrap();
    assert_eq!(taken, []);
}

/// A replica can find out which requests are its own, page by page.
pub async fn a_replicas_own_requests_are_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let mut open: Vec<_> = (0..5).map(|_| world.pending(&client, Vec::new())).collect();
    commit_pending(&world, &open).await;
    open.sort_by_key(|pending| pending.request.id);
    let own = async |replica, after| {
        let own = world.store.own_pending(replica, after, 3).await;
        own.unwrap()
    };
    assert_eq!(own(world.replica, None).await, open[..3]);
    let after = Some(open[2].request.id);
    assert_eq!(own(world.replica, after).await, open[3..]);
    world.store.end_replica(world.replica, START).await.unwrap();
    let heir = world.store.register_replica(START).await.unwrap();
    assert_eq!(own(heir, None).await, []);
    world.store.take_over_pending(heir, 2).await.unwrap();
    assert_eq!(own(heir, None).await.len(), 2);
}

/// A replica that was taken for dead and was not: of its own charge and its heir's loss the first stands, and who comes
/// too late with a charge is told.
pub async fn a_request_is_booked_once_by_whoever_comes_first(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let charged = |pending: &PendingRequest| -> UsageEvent {
        let mut event = world.event(&client, EIGHTY);
        event.request = pending.request.clone();
        event.charges = vec![charge(client.balance(), 0, 80)];
        event
    };
    let (one, other) = (
        world.pending(&client, Vec::new()),
        world.pending(&client, Vec::new()),
    );
    commit_pending(&world, &[one.clone(), other.clone()]).await;
    let commit = |event: UsageEvent| {
        let store = Arc::clone(&world.store);
        async move {
            let batch = CommitBatch {
                events: vec![event],
                ..CommitBatch::default()
            };
            store.commit(world.replica, &batch, START).await.unwrap()
        }
    };
    let reason = LossReason::Crash;
    assert_eq!(
        PendingReason::InFlight.outcome(),
        airouter_billing::Outcome::Lost(reason)
    );
    let early_loss = commit(lost(charged(&one), reason)).await;
    assert_eq!(early_loss.superseded, []);
    let late_charge = commit(charged(&one)).await;
    assert_eq!(late_charge.superseded, [one.request.id]);
    let early_charge = commit(charged(&other)).await;
    assert_eq!(early_charge.superseded, []);
    let late_loss = commit(lost(charged(&other), reason)).await;
    assert_eq!(late_loss.superseded, []);
    // What is only sent again was not superseded.
    let again = commit(charged(&other)).await;
    assert_eq!(again.superseded, []);
    assert_eq!(world.balance(&client).await.balance, Nanos::new(920));
    world.assert_adds_up(2).await;
}

/// An event that was set aside is a finding, once, with what it cost, until it is booked.
pub async fn a_refused_event_is_kept_and_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let refused = RefusedEvent {
        event: world.event(&client, EIGHTY),
        answers: Answers::Waiting,
        reason: "a constraint".to_owned(),
    };
    let mut open = world.pending(&client, Vec::new());
    open.request = refused.event.request.clone();
    commit_pending(&world, &[open]).await;
    for _ in 0..2 {
        world
            .store
            .set_aside(world.replica, &refused, START)
            .await
            .unwrap();
    }
    assert_eq!(world.store.pending(10).await.unwrap(), []);
    let findings = world.findings().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = &findings[0];
    assert_eq!(finding.check, Check::Refused);
    assert!(
        finding
            .subject
            .contains(&refused.event.request.id.to_string())
    );
    assert_eq!((finding.expected, finding.found), (30, 0));
    let unbooked = world.store.refused(10).await.unwrap();
    assert_eq!(unbooked, std::slice::from_ref(&refused));
    world.commit(vec![refused.event]).await;
    assert_eq!(world.store.refused(10).await.unwrap(), []);
    world.assert_adds_up(1).await;
}

/// Every copy of a database has the same identity, its position only grows, and whatever was seen of it is there.
pub async fn the_ledgers_position_grows(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let look = async |durable: Durable| world.store.look(&durable).await.unwrap();
    let empty = look(Durable::default()).await;
    assert_eq!((empty.position.newest, empty.transaction), (None, None));
    let client = world.prepaid(1_000).await;
    let credited = look(Durable::default()).await.position;
    let mut event = world.event(&client, EIGHTY);
    event.charges = vec![charge(client.balance(), 0, 80)];
    let request = event.request.id;
    world.commit(vec![event]).await;
    let credit = credited.newest.unwrap();
    let settled = look(Durable {
        transaction: Some(credit.number),
        requests: vec![request, request],
    })
    .await;
    assert_eq!(empty.position.database, settled.position.database);
    assert_eq!(settled.transaction, Some(credit));
    assert_eq!(credit.debits, Nanos::new(1_000));
    assert_eq!(settled.missing_requests, 0);
    let newest = settled.position.newest.unwrap();
    assert!(credit.number < newest.number);
    // A look at the newest one again sees the same.
    let again = look(Durable {
        transaction: Some(newest.number),
        requests: Vec::new(),
    })
    .await;
    assert_eq!(again.transaction, Some(newest));
}

/// What was durable elsewhere, in a state of the database that is lost, is missed: also where others have meanwhile
/// given its number to another transaction.
pub async fn what_a_database_has_forgotten_is_missed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let known = world.event(&client, EIGHTY);
    let lost = world.event(&client, EIGHTY);
    let mut durable = Durable {
        transaction: Some(i64::from(u32::MAX)),
        requests: vec![known.request.id, lost.request.id],
    };
    world.commit(vec![known]).await;
    let look = world.store.look(&durable).await.unwrap();
    assert_eq!((look.transaction, look.missing_requests), (None, 1));
    let newest = look.position.newest.unwrap();
    durable.transaction = Some(newest.number);
    let there = world.store.look(&durable).await.unwrap().transaction;
    assert_eq!(there, Some(newest));
    let lost = TransactionMark {
        created_at: newest.created_at.plus_seconds(1),
        ..newest
    };
    assert_ne!(there, Some(lost), "another transaction has the number");
}

/// What was read once is read again where the same numbers mean something else.
pub async fn what_was_read_can_be_forgotten(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    world.commit(vec![world.event(&client, EIGHTY)]).await;
    world.snapshot(&client).await;
    world.store.forget_what_was_read();
    world.commit(vec![world.event(&client, EIGHTY)]).await;
    assert_eq!(world.snapshot(&client).await.account, client.account);
    world.assert_adds_up(2).await;
}
