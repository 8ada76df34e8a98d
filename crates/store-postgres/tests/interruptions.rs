//! Commits and leases whose database hangs, or whose caller leaves: nothing is left open, and nothing happens twice.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use airouter_billing::UsageEvent;
use airouter_store::StoreError;
use airouter_store::conformance::{Client, START, World, charge};
use airouter_store::leases::LeaseRequest;
use airouter_store::settlements::CommitBatch;
use airouter_store_postgres::{OpenMode, PostgresStore};
use support::TestDatabase;
use support::host;
use support::proxy::{Proxy, Traffic};

/// Nobody waits longer than this: for a connection, and then for an answer on it.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// A replica whose way to the database can be cut, and another way to it.
struct Behind {
    world: World,
    client: Client,
    proxy: Proxy,
    direct: World,
    _database: TestDatabase,
}

impl Behind {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let direct = World::new(Arc::new(database.serve().await)).await;
        let client = direct.prepaid(1_000_000).await;
        let proxy = Proxy::to(host()).await;
        let url = database.url_at(&proxy.address().to_string());
        let store = PostgresStore::open(&url, OpenMode::Serve).await.unwrap();
        let replica = direct.store.register_replica(START).await.unwrap();
        let world = World {
            store: Arc::new(store),
            replica,
            master: direct.master,
        };
        Self {
            world,
            client,
            proxy,
            direct,
            _database: database,
        }
    }

    fn event(&self) -> UsageEvent {
        let mut event = self.world.event(&self.client, "0.0000001");
        event.charges = vec![charge(self.client.balance(), 0, 80)];
        event
    }
}

fn batch(events: Vec<UsageEvent>) -> CommitBatch {
    CommitBatch {
        events,
        ..CommitBatch::default()
    }
}

#[tokio::test]
async fn nobody_waits_for_ever_to_commit_or_to_lease() {
    let behind = Behind::new().await;
    let (world, client) = (&behind.world, &behind.client);
    world.commit(vec![behind.event()]).await;
    world.lease(client.balance(), 10).await;
    world.store.renew(world.replica, START).await.unwrap();
    behind.proxy.set(Traffic::Hangs);
    let events = batch(vec![behind.event()]);
    let request = LeaseRequest {
        slot: world.slot(client.balance()),
        at_least: 10,
        wish: 10,
    };
    let begun = Instant::now();
    let (committed, leased, renewed) = tokio::join!(
        world.store.commit(world.replica, &events, START),
        world.store.lease(world.replica, request, START),
        world.store.renew(world.replica, START)
    );
    assert!(begun.elapsed() < LONGEST_WAIT);
    assert!(matches!(committed, Err(StoreError::InDoubt(_))));
    assert!(leased.is_err_and(|error| error.is_transient()));
    assert!(renewed.is_err_and(|error| error.is_transient()));
    // Connections that hang are not used again.
    behind.proxy.freeze();
    world
        .store
        .commit(world.replica, &events, START)
        .await
        .unwrap();
    world
        .store
        .lease(world.replica, request, START)
        .await
        .unwrap();
    world.store.renew(world.replica, START).await.unwrap();
    behind.direct.assert_adds_up(2).await;
}

#[tokio::test]
async fn a_connection_that_was_cut_is_replaced() {
    let behind = Behind::new().await;
    let world = &behind.world;
    world.commit(vec![behind.event()]).await;
    behind.proxy.cut().await;
    let events = batch(vec![behind.event()]);
    let cut = world.store.commit(world.replica, &events, START).await;
    assert!(cut.is_err_and(|error| error.is_transient()));
    world
        .store
        .commit(world.replica, &events, START)
        .await
        .unwrap();
    behind.direct.assert_adds_up(2).await;
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_leaves_nothing_open() {
    let behind = Behind::new().await;
    let world = &behind.world;
    for micros in (0..40).map(|step| step * 250) {
        let events = batch(vec![behind.event(), behind.event()]);
        let commit = world.store.commit(world.replica, &events, START);
        let _ = tokio::time::timeout(Duration::from_micros(micros), commit).await;
        // Whether it was committed or not, now it is, and once.
        let again = world.store.commit(world.replica, &events, START).await;
        assert_eq!(again.unwrap().uncollected, []);
    }
    behind.direct.assert_adds_up(80).await;
}

/// Nobody knows whether a take-over of which no answer came has happened. It has, and whose they are can be found out.
#[tokio::test]
async fn what_was_taken_over_without_an_answer_can_be_found() {
    let behind = Behind::new().await;
    let (world, direct) = (&behind.world, &behind.direct);
    let left = direct.pending(&behind.client, Vec::new());
    let pending = CommitBatch {
        pending: vec![left.clone()],
        ..CommitBatch::default()
    };
    let (store, dead) = (&direct.store, direct.replica);
    store.commit(dead, &pending, START).await.unwrap();
    store.end_replica(dead, START).await.unwrap();
    behind.proxy.set(Traffic::EndsAtCommit);
    let taken = world.store.take_over_pending(world.replica, 10).await;
    assert!(matches!(taken, Err(StoreError::InDoubt(_))), "{taken:?}");
    behind.proxy.set(Traffic::Flows);
    let again = world.store.take_over_pending(world.replica, 10).await;
    assert_eq!(again.unwrap(), []);
    let own = world.store.own_pending(world.replica, None, 10).await;
    assert_eq!(own.unwrap(), [left]);
}
