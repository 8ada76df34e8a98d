//! Several replicas on one database: they race, fall silent, are taken for dead and are not. Nothing is overdrawn,
//! booked twice or lost.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use airouter_billing::event::{LossReason, Payment};
use airouter_billing::tenure::{GRACE_SECONDS, LEASE_SECONDS};
use airouter_billing::{BudgetRef, Nanos, Outcome, Period, Quantity, UsageEvent};
use airouter_store::StoreError;
use airouter_store::clients::NewCap;
use airouter_store::conformance::{Client, START, World, charge, new_person};
use airouter_store::leases::LeaseRequest;
use airouter_store::settlements::CommitBatch;
use futures_util::future::join_all;
use support::{TestDatabase, run};
use tokio::task::JoinSet;

/// The list cost at which a client pays 80 nano-dollars.
const EIGHTY: &str = "0.0000001";

/// So many replicas on one database, each with a store of its own.
async fn replicas(count: usize) -> (Vec<World>, TestDatabase) {
    let database = TestDatabase::new().await;
    let mut worlds = vec![World::new(Arc::new(database.serve().await)).await];
    while worlds.len() < count {
        let store = Arc::new(database.serve().await);
        let replica = worlds[0].store.register_replica(START).await.unwrap();
        let master = worlds[0].master;
        worlds.push(World {
            store,
            replica,
            master,
        });
    }
    (worlds, database)
}

fn lost(event: &UsageEvent) -> UsageEvent {
    let mut event = event.clone();
    event.price = Nanos::ZERO;
    event.outcome = Outcome::Lost(LossReason::Crash);
    event
}

fn batch(events: Vec<UsageEvent>) -> CommitBatch {
    CommitBatch {
        events,
        ..CommitBatch::default()
    }
}

/// Lets the clock of leases go on as if so much time had passed, ticked all the while.
async fn pass(database: &TestDatabase, seconds: i64) {
    let advance = format!(
        "UPDATE lease_clock SET elapsed_micros = elapsed_micros + {seconds} * 1000000, ticked_at = clock_timestamp()"
    );
    run(&mut database.sql().await, &advance).await;
}

async fn elapsed_micros(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("SELECT elapsed_micros FROM lease_clock")
        .fetch_one(&mut database.sql().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_silent_replica_ends_after_its_leases_and_their_grace() {
    let (worlds, database) = replicas(2).await;
    let [silent, alive] = &worlds[..] else {
        unreachable!("two were asked for")
    };
    let client = silent.prepaid(100).await;
    silent.lease(client.balance(), 100).await;
    pass(&database, LEASE_SECONDS + GRACE_SECONDS - 30).await;
    alive.store.renew(alive.replica, START).await.unwrap();
    let early = alive.store.end_silent_replicas(START).await.unwrap();
    assert_eq!(early, []);
    assert_eq!(alive.free(client.balance()).await, 0);
    pass(&database, 30).await;
    let (one, other) = tokio::join!(
        alive.store.end_silent_replicas(START),
        silent.store.end_silent_replicas(START)
    );
    let ended = [one.unwrap(), other.unwrap()].concat();
    assert_eq!(ended, [silent.replica]);
    assert_eq!(alive.free(client.balance()).await, 100);
    let renewed = silent.store.renew(silent.replica, START).await;
    assert!(matches!(renewed, Err(StoreError::Fenced)));
    let request = LeaseRequest {
        slot: silent.slot(client.balance()),
        at_least: 1,
        wish: 1,
    };
    let leased = silent.store.lease(silent.replica, request, START).await;
    assert!(matches!(leased, Err(StoreError::Fenced)));
    alive.store.renew(alive.replica, START).await.unwrap();
    alive.assert_adds_up(0).await;
}

#[tokio::test]
async fn outages_and_clocks_that_jump_end_nobody() {
    let (worlds, database) = replicas(2).await;
    let mut sql = database.sql().await;
    for _ in 0..20 {
        let before = elapsed_micros(&database).await;
        run(
            &mut sql,
            "UPDATE lease_clock SET ticked_at = ticked_at - interval '1 hour'",
        )
        .await;
        let ended = worlds[0].store.end_silent_replicas(START).await.unwrap();
        assert_eq!(ended, []);
        let counted = elapsed_micros(&database).await - before;
        assert_eq!(counted, 5_000_000);
    }
    run(
        &mut sql,
        "UPDATE lease_clock SET ticked_at = ticked_at + interval '1 hour'",
    )
    .await;
    let before = elapsed_micros(&database).await;
    worlds[0].store.end_silent_replicas(START).await.unwrap();
    assert_eq!(elapsed_micros(&database).await, before);
}

#[tokio::test]
async fn replicas_that_race_for_a_budget_never_get_more_than_there_is() {
    let (worlds, _database) = replicas(3).await;
    for _ in 0..4 {
        let prepaid = worlds[0].prepaid(6 * 80).await;
        let mut person = new_person(Payment::Metered);
        person.caps = vec![NewCap {
            quantity: Quantity::Requests,
            period: Period::Day,
            cap: 7 * 80,
        }];
        let metered = worlds[0].client(person, Vec::new()).await;
        let capped = worlds[0].snapshot(&metered).await.budgets[0];
        for (budget, times) in [(prepaid.balance(), 6), (capped, 7)] {
            let asked = worlds.iter().cycle().take(30);
            let grants = join_all(asked.map(|world| world.lease(budget, 80))).await;
            let granted: i64 = grants.iter().map(|grant| grant.amount).sum();
            assert_eq!(granted, times * 80);
            assert_eq!(worlds[1].free(budget).await, 0);
        }
    }
    worlds[0].assert_adds_up(0).await;
}

#[tokio::test]
async fn what_other_replicas_have_reserved_is_told() {
    let (worlds, _database) = replicas(2).await;
    let client = worlds[0].prepaid(100).await;
    worlds[0].lease(client.balance(), 70).await;
    worlds[1].lease(client.balance(), 10).await;
    let request = LeaseRequest {
        slot: worlds[1].slot(client.balance()),
        at_least: 50,
        wish: 50,
    };
    let store = &worlds[1].store;
    let leased = store
        .lease(worlds[1].replica, request, START)
        .await
        .unwrap();
    assert_eq!((leased.grant.amount, leased.grant.free), (0, 20));
    assert_eq!(leased.elsewhere, 70);
}

#[tokio::test]
async fn the_same_requests_from_two_replicas_at_once_are_booked_once() {
    let (worlds, _database) = replicas(2).await;
    let clients = [
        worlds[0].prepaid(1_000_000).await,
        worlds[0].prepaid(1_000_000).await,
    ];
    let (mut charges, mut losses) = (0, 0);
    for _ in 0..60 {
        let mut events = Vec::new();
        for client in &clients {
            let mut event = worlds[0].event(client, EIGHTY);
            event.charges = vec![charge(client.balance(), 0, 80)];
            events.push(event);
        }
        let charged = batch(events.clone());
        // The other one names them in another order, and takes them for lost.
        let lost = batch(events.iter().rev().map(lost).collect());
        let (one, other) = tokio::join!(
            worlds[0].store.commit(worlds[0].replica, &charged, START),
            worlds[1].store.commit(worlds[1].replica, &lost, START)
        );
        let superseded = one.unwrap().superseded.len();
        assert_eq!(other.unwrap().superseded, []);
        losses += superseded;
        charges += 2 - superseded;
    }
    let spent = join_all(clients.iter().map(|client| worlds[0].balance(client))).await;
    let spent: i64 = spent
        .iter()
        .map(|balance| balance.lifetime_spent.get())
        .sum();
    assert_eq!(spent, 80 * i64::try_from(charges).unwrap());
    assert!(
        losses > 0 && charges > 0,
        "{losses} losses, {charges} charges: there was no race"
    );
    worlds[0].assert_adds_up(120).await;
}

#[tokio::test]
async fn a_request_that_two_replicas_book_for_different_payers_is_booked_once() {
    let (worlds, _database) = replicas(2).await;
    let payers = [
        worlds[0].prepaid(1_000_000).await,
        worlds[0].prepaid(1_000_000).await,
    ];
    for _ in 0..40 {
        let mut event = worlds[0].event(&payers[0], EIGHTY);
        event.charges = vec![charge(payers[0].balance(), 0, 80)];
        let mut same = event.clone();
        same.request.payer = payers[1].account;
        same.charges = vec![charge(payers[1].balance(), 0, 80)];
        tokio::join!(worlds[0].commit(vec![event]), worlds[1].commit(vec![same]));
    }
    worlds[0].assert_adds_up(40).await;
}

#[tokio::test]
async fn a_replica_that_ends_while_it_commits_leaves_nothing_behind() {
    let (worlds, _database) = replicas(1).await;
    let world = &worlds[0];
    let client = world.prepaid(1_000_000).await;
    for _ in 0..30 {
        let replica = world.store.register_replica(START).await.unwrap();
        let request = LeaseRequest {
            slot: world.slot(client.balance()),
            at_least: 1_000,
            wish: 1_000,
        };
        world.store.lease(replica, request, START).await.unwrap();
        let mut event = world.event(&client, EIGHTY);
        event.charges = vec![charge(client.balance(), 80, 0)];
        let events = batch(vec![event]);
        let (committed, ended) = tokio::join!(
            world.store.commit(replica, &events, START),
            world.store.end_replica(replica, START)
        );
        assert_eq!(committed.unwrap().uncollected, []);
        ended.unwrap();
        assert_eq!(world.balance(&client).await.reserved, Nanos::ZERO);
    }
    world.assert_adds_up(30).await;
}

#[tokio::test]
async fn pending_requests_are_divided_among_those_who_take_over() {
    let (worlds, _database) = replicas(3).await;
    let client = worlds[0].prepaid(0).await;
    let open: Vec<_> = (0..120)
        .map(|_| worlds[0].pending(&client, Vec::new()))
        .collect();
    let all: BTreeSet<_> = open.iter().map(|pending| pending.request.id).collect();
    let pending = CommitBatch {
        pending: open,
        ..CommitBatch::default()
    };
    let (store, first) = (&worlds[0].store, worlds[0].replica);
    store.commit(first, &pending, START).await.unwrap();
    store.end_replica(first, START).await.unwrap();
    let take_all = async |world: &World| {
        let mut taken = Vec::new();
        loop {
            let some = world
                .store
                .take_over_pending(world.replica, 7)
                .await
                .unwrap();
            // Those that the other one is just taking are passed over.
            if some.is_empty() && world.store.pending(200).await.unwrap().len() == 120 {
                return taken;
            }
            taken.extend(some.into_iter().map(|pending| pending.request.id));
        }
    };
    let (one, other) = tokio::join!(take_all(&worlds[1]), take_all(&worlds[2]));
    let count = one.len() + other.len();
    let taken: BTreeSet<_> = one.into_iter().chain(other).collect();
    assert_eq!((count, taken), (120, all));
}

/// xorshift64*: enough to choose what happens next.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % bound
    }
}

/// What one replica does: batches over the same few accounts in any order, leases, returns, and credits in between.
async fn work(world: World, clients: Arc<Vec<(Client, Vec<BudgetRef>)>>, seed: u64) -> usize {
    let mut choices = Choices(seed);
    let mut events = 0;
    for _ in 0..60 {
        let (client, budgets) = &clients[choices.below(clients.len())];
        let budget = budgets[choices.below(budgets.len())];
        match choices.below(6) {
            0 => drop(world.lease(budget, 500).await),
            1 => {
                let amounts = budgets
                    .iter()
                    .rev()
                    .map(|budget| (world.slot(*budget), 100));
                let amounts: Vec<_> = amounts.collect();
                world
                    .store
                    .give_back(world.replica, &amounts)
                    .await
                    .unwrap();
            }
            2 if client.payment == Payment::Prepaid => drop(world.adjust(client, 10_000).await),
            _ => {
                let batch: Vec<_> = (0..1 + choices.below(12))
                    .map(|_| {
                        let (client, budgets) = &clients[choices.below(clients.len())];
                        let mut event = world.event(client, EIGHTY);
                        event.charges = budgets
                            .iter()
                            .map(|budget| match budget.quantity {
                                Quantity::Requests => charge(*budget, 1, 0),
                                Quantity::Nanos => charge(*budget, 60, 20),
                            })
                            .collect();
                        event
                    })
                    .collect();
                events += batch.len();
                world.commit(batch).await;
            }
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_commit_at_random_never_wait_in_a_circle() {
    let (worlds, database) = replicas(8).await;
    let mut clients = Vec::new();
    for payment in [
        Payment::Prepaid,
        Payment::Prepaid,
        Payment::Prepaid,
        Payment::Metered,
    ] {
        let mut person = new_person(payment);
        person.tier = Some("standard".to_owned());
        person.caps = vec![NewCap {
            quantity: Quantity::Requests,
            period: Period::Day,
            cap: 100_000,
        }];
        let client = worlds[0].client(person, Vec::new()).await;
        if payment == Payment::Prepaid {
            worlds[0].adjust(&client, 1_000_000).await;
        }
        let budgets = worlds[0].snapshot(&client).await.budgets.to_vec();
        clients.push((client, budgets));
    }
    let clients = Arc::new(clients);
    let observer = World {
        store: Arc::clone(&worlds[0].store),
        replica: worlds[0].replica,
        master: worlds[0].master,
    };
    let mut tasks = JoinSet::new();
    for (seed, world) in (1..).zip(worlds) {
        tasks.spawn(work(world, Arc::clone(&clients), seed));
    }
    let events: usize = tasks.join_all().await.into_iter().sum();
    observer
        .assert_adds_up(u64::try_from(events).unwrap())
        .await;
    let deadlocks: i64 = sqlx::query_scalar(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(&mut database.sql().await)
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

/// Gives a replica leases of a budget in so many periods, 5 requests each.
async fn lease_many_periods(world: &World, database: &TestDatabase, count: i64) {
    let mut person = new_person(Payment::Metered);
    person.caps = vec![NewCap {
        quantity: Quantity::Requests,
        period: Period::Day,
        cap: 7,
    }];
    let client = world.client(person, Vec::new()).await;
    let replica = world.replica.get();
    let owner = client.account;
    run(
        &mut database.sql().await,
        &format!(
            "INSERT INTO budget_periods (budget_id, period_start, reserved)
            SELECT id, timestamptz '2000-01-01Z' + day * interval '1 day', 5
            FROM budgets, generate_series(1, {count}) AS day WHERE owner_id = '{owner}';
            INSERT INTO leases (replica_id, budget_kind, budget_id, period_start, amount)
            SELECT {replica}, 'cap', budget_id, period_start, 5 FROM budget_periods"
        ),
    )
    .await;
}

async fn leases_and_reserved(database: &TestDatabase) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM leases), (SELECT coalesce(sum(reserved), 0)::bigint FROM budget_periods)",
    )
    .fetch_one(&mut database.sql().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_replica_with_very_many_leases_ends() {
    let (worlds, database) = replicas(2).await;
    let world = &worlds[0];
    lease_many_periods(world, &database, 30_000).await;
    assert_eq!(leases_and_reserved(&database).await, (30_000, 150_000));
    world.store.end_replica(world.replica, START).await.unwrap();
    assert_eq!(leases_and_reserved(&database).await, (0, 0));
    worlds[1].assert_adds_up(0).await;
}

/// Who ends a replica is stopped in the middle: what has gone back stays so, the rest is still reserved, nothing more is
/// leased, and another one finishes.
#[tokio::test]
async fn an_end_that_was_cut_in_the_middle_is_finished_by_another() {
    let (worlds, database) = replicas(2).await;
    let (dying, heir) = (&worlds[0], &worlds[1]);
    lease_many_periods(dying, &database, 30_000).await;
    let mut holder = database.sql().await;
    run(
        &mut holder,
        "BEGIN; SELECT FROM budget_periods
        WHERE period_start = timestamptz '2000-01-01Z' + 15500 * interval '1 day' FOR UPDATE",
    )
    .await;
    let cut = dying.store.end_replica(dying.replica, START).await;
    assert!(cut.is_err_and(|error| error.is_transient()));
    assert_eq!(leases_and_reserved(&database).await, (15_000, 75_000));
    let request = LeaseRequest {
        slot: dying.slot(dying.prepaid(10).await.balance()),
        at_least: 1,
        wish: 1,
    };
    let leased = dying.store.lease(dying.replica, request, START).await;
    assert!(matches!(leased, Err(StoreError::Fenced)));
    heir.assert_adds_up(0).await;
    run(&mut holder, "ROLLBACK").await;
    let mut rounds = 0;
    while leases_and_reserved(&database).await.0 > 0 {
        assert_eq!(heir.store.end_silent_replicas(START).await.unwrap(), []);
        rounds += 1;
        assert!(rounds < 10, "it comes to no end");
    }
    assert_eq!(leases_and_reserved(&database).await, (0, 0));
    heir.store.end_replica(dying.replica, START).await.unwrap();
    heir.assert_adds_up(0).await;
}

/// A balance that somebody has locked keeps those waiting who need it, and nobody else.
#[tokio::test]
async fn a_locked_balance_makes_nobody_else_wait() {
    let (worlds, database) = replicas(1).await;
    let world = &worlds[0];
    let locked = world.prepaid(100).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(world.prepaid(100).await);
    }
    // The connection is there already.
    world.free(locked.balance()).await;
    let mut holder = database.sql().await;
    let account = locked.account;
    run(
        &mut holder,
        &format!("BEGIN; SELECT FROM balances WHERE account_id = '{account}' FOR UPDATE"),
    )
    .await;
    let waiting = world.lease(locked.balance(), 10);
    let granted = join_all(
        others
            .iter()
            .map(|client| world.lease(client.balance(), 10)),
    );
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        _ = &mut waiting => unreachable!("it was granted what is locked"),
        grants = granted => assert!(grants.iter().all(|grant| grant.amount == 10)),
    }
    // Others go through while it waits.
    assert_eq!(world.lease(others[0].balance(), 10).await.amount, 10);
    run(&mut holder, "ROLLBACK").await;
    assert_eq!(waiting.await.amount, 10);
    world.assert_adds_up(0).await;
}
