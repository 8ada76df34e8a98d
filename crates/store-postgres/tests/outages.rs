//! A database that hangs, goes away or is busy: every wait ends, and afterwards everything works again.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use airouter_auth::KeyHash;
use airouter_billing::event::Payment;
use airouter_store::StoreError;
use airouter_store::clients::{ChangePosition, Clients as _};
use airouter_store::conformance::{Client, World, new_person};
use airouter_store_postgres::{OpenMode, PostgresStore};
use futures_util::future::join_all;
use sqlx::{Connection as _, PgConnection};
use support::proxy::{Proxy, Traffic};
use support::{TestDatabase, host, run, until};

/// Nobody waits longer than this, whatever the database does.
const LONGEST_WAIT: Duration = Duration::from_millis(3_500);

/// A store behind a proxy, and a client of it.
struct Behind {
    store: PostgresStore,
    client: Client,
    proxy: Proxy,
    database: TestDatabase,
}

async fn behind_a_proxy() -> Behind {
    let database = TestDatabase::new().await;
    let world = World::new(Arc::new(database.serve().await)).await;
    let client = world.prepaid(0).await;
    let proxy = Proxy::to(host()).await;
    let url = database.url_at(&proxy.address().to_string());
    let store = PostgresStore::open(&url, OpenMode::Serve).await.unwrap();
    Behind {
        store,
        client,
        proxy,
        database,
    }
}

impl Behind {
    async fn look_up(&self) -> Result<bool, StoreError> {
        let found = self.store.key_by_hash(&self.client.hash).await?;
        Ok(found.is_some_and(|found| found.key == self.client.key))
    }

    async fn poll(&self) -> Result<(), StoreError> {
        let start = ChangePosition::default();
        self.store.changes_since(&start).await.map(drop)
    }

    async fn assert_works(&self) {
        assert!(self.look_up().await.unwrap());
        self.poll().await.unwrap();
        self.store.ping().await.unwrap();
    }
}

fn assert_unavailable<T>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn nobody_waits_for_ever_for_a_server_that_hangs() {
    let behind = behind_a_proxy().await;
    behind.assert_works().await;
    behind.proxy.set(Traffic::Hangs);
    let begun = Instant::now();
    let (key, changes, ping) = tokio::join!(behind.look_up(), behind.poll(), behind.store.ping());
    assert_unavailable(key);
    assert_unavailable(changes);
    assert_unavailable(ping);
    assert!(begun.elapsed() < LONGEST_WAIT, "{:?}", begun.elapsed());
    behind.proxy.set(Traffic::Flows);
    until(async || behind.look_up().await.is_ok()).await;
    until(async || behind.poll().await.is_ok()).await;
    until(async || behind.store.ping().await.is_ok()).await;
    behind.assert_works().await;
}

#[tokio::test]
async fn a_lookup_survives_the_loss_of_its_connection() {
    let behind = behind_a_proxy().await;
    for _ in 0..3 {
        behind.assert_works().await;
        behind.proxy.cut().await;
        assert!(behind.look_up().await.unwrap());
        behind.poll().await.unwrap();
    }
}

#[tokio::test]
async fn a_lookup_waits_for_a_server_that_comes_back_soon() {
    let behind = behind_a_proxy().await;
    behind.proxy.set(Traffic::Ends);
    let back = async {
        until(async || behind.proxy.refused() >= 4).await;
        behind.proxy.set(Traffic::Flows);
    };
    let (found, ()) = tokio::join!(behind.look_up(), back);
    assert!(found.unwrap());
}

#[tokio::test]
async fn a_server_that_is_away_is_said_to_be() {
    let behind = behind_a_proxy().await;
    behind.proxy.set(Traffic::Ends);
    let begun = Instant::now();
    for answer in join_all((0..50).map(|_| behind.look_up())).await {
        assert_unavailable(answer);
    }
    assert!(begun.elapsed() < LONGEST_WAIT, "{:?}", begun.elapsed());
    behind.proxy.set(Traffic::Flows);
    behind.assert_works().await;
}

/// The pool may be as busy as it likes: what requests wait for goes another way, and all who wait go together.
#[tokio::test]
async fn lookups_do_not_wait_for_the_pool() {
    let behind = behind_a_proxy().await;
    let mut sql = behind.database.sql().await;
    let mut lock = sql.begin().await.unwrap();
    run(&mut lock, "LOCK TABLE balances").await;
    let people: Vec<_> = (0..20).map(|_| new_person(Payment::Metered)).collect();
    let creations = join_all(
        people
            .iter()
            .map(|person| behind.store.create_person(person)),
    );
    let lookups = async {
        let mut watcher = behind.database.sql().await;
        until(async || waiting(&mut watcher).await == 8).await;
        let unknown = KeyHash::from_bytes([7; 32]);
        let hash_of = |number| {
            if number % 2 == 0 {
                &behind.client.hash
            } else {
                &unknown
            }
        };
        let lookups = (0..2_000).map(|number| behind.store.key_by_hash(hash_of(number)));
        let answers = join_all(lookups).await;
        assert_eq!(waiting(&mut watcher).await, 8);
        lock.rollback().await.unwrap();
        answers
    };
    let (created, answers) = tokio::join!(creations, lookups);
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap().is_some(), number % 2 == 0);
    }
    assert!(created.iter().filter(|created| created.is_ok()).count() >= 8);
}

/// Whoever gives up in the middle of a transaction takes its connection along.
#[tokio::test]
async fn a_caller_that_leaves_leaves_no_transaction_behind() {
    let behind = behind_a_proxy().await;
    let (mut sql, mut watcher) = (behind.database.sql().await, behind.database.sql().await);
    let mut lock = sql.begin().await.unwrap();
    run(&mut lock, "LOCK TABLE balances").await;
    let person = new_person(Payment::Metered);
    tokio::select! {
        // It has written the account when it comes to the balance.
        created = behind.store.create_person(&person) => panic!("the table is locked: {created:?}"),
        () = until(async || waiting(&mut watcher).await == 1) => {}
    }
    lock.rollback().await.unwrap();
    until(async || in_transactions(&mut watcher).await == 0).await;
    let found = behind.store.person_by_email(&person.email).await.unwrap();
    assert_eq!(found, None);
    behind.store.create_person(&person).await.unwrap();
    behind.assert_works().await;
}

/// Connections that hang for ever are not waited for, and take no place of the pool.
#[tokio::test]
async fn connections_that_never_answer_again_are_replaced() {
    let behind = behind_a_proxy().await;
    let (mut sql, mut watcher) = (behind.database.sql().await, behind.database.sql().await);
    let mut lock = sql.begin().await.unwrap();
    run(&mut lock, "LOCK TABLE balances").await;
    let people: Vec<_> = (0..8).map(|_| new_person(Payment::Metered)).collect();
    let creations = join_all(
        people
            .iter()
            .map(|person| behind.store.create_person(person)),
    );
    tokio::select! {
        created = creations => panic!("the table is locked: {created:?}"),
        () = async {
            until(async || waiting(&mut watcher).await == 8).await;
            behind.proxy.freeze();
        } => {}
    }
    lock.rollback().await.unwrap();
    until(async || behind.store.ping().await.is_ok()).await;
    until(async || behind.look_up().await.is_ok()).await;
    until(async || behind.poll().await.is_ok()).await;
    behind.assert_works().await;
}

/// Statements of the store that wait for a lock.
async fn waiting(sql: &mut PgConnection) -> i64 {
    count(sql, "wait_event_type = 'Lock'").await
}

/// Transactions of the store.
async fn in_transactions(sql: &mut PgConnection) -> i64 {
    count(sql, "xact_start IS NOT NULL").await
}

async fn count(sql: &mut PgConnection, which: &'static str) -> i64 {
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'airouter' AND {which}"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .fetch_one(sql)
        .await
        .unwrap()
}
