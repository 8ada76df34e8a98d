//! A replica that ends with very many leases.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airouter_billing::event::Payment;
use airouter_billing::{Period, Quantity};
use airouter_store::StoreError;
use airouter_store::clients::NewCap;
use airouter_store::conformance::{START, World, new_person};
use airouter_store::leases::LeaseRequest;
use airouter_store_sqlite::{OpenMode, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

const LEASES: i64 = 30_000;

async fn sql(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    options.connect().await.unwrap()
}

/// A world whose replica has leases of 5 requests in so many periods of one budget.
async fn leased(path: &Path) -> World {
    let store = SqliteStore::open(path, OpenMode::Serve).await.unwrap();
    let world = World::new(Arc::new(store)).await;
    let mut person = new_person(Payment::Metered);
    person.caps = vec![NewCap {
        quantity: Quantity::Requests,
        period: Period::Day,
        cap: 7,
    }];
    world.client(person, Vec::new()).await;
    let replica = world.replica.get();
    let insert = format!(
        "WITH RECURSIVE days (day) AS (SELECT 1 UNION ALL SELECT day + 1 FROM days WHERE day < {LEASES})
        INSERT INTO budget_periods (budget_id, period_start, reserved)
        SELECT id, day * 86400000000, 5 FROM budgets, days;
        INSERT INTO leases (replica_id, budget_kind, budget_id, period_start, amount)
        SELECT {replica}, 'cap', budget_id, period_start, 5 FROM budget_periods;"
    );
    let mut connection = sql(path).await;
    connection.execute(AssertSqlSafe(insert)).await.unwrap();
    assert_eq!(
        leases_and_reserved(&mut connection).await,
        (LEASES, 5 * LEASES)
    );
    world
}

async fn leases_and_reserved(connection: &mut SqliteConnection) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM leases), (SELECT coalesce(sum(reserved), 0) FROM budget_periods)",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_replica_with_very_many_leases_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let world = leased(&path).await;
    world.store.end_replica(world.replica, START).await.unwrap();
    let left = leases_and_reserved(&mut sql(&path).await).await;
    assert_eq!(left, (0, 0));
    world.assert_adds_up(0).await;
}

/// Whoever ends it leaves at any moment: what has gone back stays so, the rest is still reserved, nothing more is leased,
/// and the next attempt finishes.
#[tokio::test]
async fn an_end_that_was_cut_in_the_middle_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let world = leased(&path).await;
    let mut connection = sql(&path).await;
    let mut wait = Duration::from_millis(1);
    let mut cuts = 0;
    let request = LeaseRequest {
        slot: world.slot(world.prepaid(10).await.balance()),
        at_least: 1,
        wish: 1,
    };
    loop {
        let end = world.store.end_replica(world.replica, START);
        let is_cut = tokio::time::timeout(wait, end).await.is_err();
        let (leases, reserved) = leases_and_reserved(&mut connection).await;
        assert_eq!(reserved, 5 * leases);
        world.assert_adds_up(0).await;
        if !is_cut {
            break;
        }
        if (1..LEASES).contains(&leases) {
            cuts += 1;
            let leased = world.store.lease(world.replica, request, START).await;
            assert!(matches!(leased, Err(StoreError::Fenced)));
        }
        wait += Duration::from_millis(1);
    }
    assert!(cuts > 0, "it was never cut in the middle");
    let left = leases_and_reserved(&mut connection).await;
    assert_eq!(left, (0, 0));
}
