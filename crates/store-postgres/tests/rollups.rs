//! Sums that are kept: transactions overlap, and none is missed.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use std::sync::Arc;

use airouter_store::conformance::{Client, START, World, charge};
use airouter_store::rollups::{Folded, Rollups as _};
use airouter_store::usage::{Lines, PayerPart, PayerQuery, QuarterHour, Usage as _, UsagePeriod};
use airouter_store_postgres::PostgresStore;
use sqlx::{Connection as _, PgConnection, PgTransaction};
use support::{TestDatabase, until};
use uuid::Uuid;

/// A client with one request that is in the sums.
struct Booked {
    world: World,
    store: Arc<PostgresStore>,
    client: Client,
    request: Uuid,
}

impl Booked {
    async fn new(database: &TestDatabase) -> Self {
        let store = Arc::new(database.serve().await);
        let world = World::new(store.clone()).await;
        let client = world.prepaid(1_000_000).await;
        let mut event = world.event(&client, "0.0000001");
        event.charges = vec![charge(client.balance(), 0, event.price.get())];
        let request = event.request.id.get();
        world.commit(vec![event]).await;
        let booked = Self {
            world,
            store,
            client,
            request,
        };
        booked.fold_all().await;
        booked
    }

    async fn fold_all(&self) {
        until(async || self.store.fold_usage(1_000).await.unwrap() == Folded::Done).await;
    }

    async fn requests(&self) -> u64 {
        let query = PayerQuery {
            payer: self.client.account,
            periods: vec![UsagePeriod {
                from: QuarterHour::containing(START),
                to: QuarterHour::containing(START).plus(1),
            }],
            key: None,
            member: None,
            model: None,
            by: PayerPart::Whole,
            lines: Lines::ALL,
        };
        let rows = self.store.payer_usage(&query).await.unwrap();
        rows.first().map_or(0, |row| row.sums.requests)
    }

    /// What a commit does first: it locks the balance of somebody.
    async fn lock<'a>(&self, connection: &'a mut PgConnection) -> PgTransaction<'a> {
        let somebody = self.world.prepaid(0).await;
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query("SELECT FROM balances WHERE account_id = $1 FOR NO KEY UPDATE")
            .bind(somebody.account.get())
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        transaction
    }

    /// Books another request like the first.
    async fn book(&self, transaction: &mut PgConnection) {
        sqlx::query(
            "WITH transaction AS (
                INSERT INTO ledger_transactions (kind, created_at) VALUES ('usage', now()) RETURNING id
            )
            INSERT INTO request_logs
            SELECT (jsonb_populate_record(
                r, jsonb_build_object('id', gen_random_uuid(), 'transaction_id', transaction.id)
            )).*
            FROM request_logs r, transaction WHERE r.id = $1",
        )
        .bind(self.request)
        .execute(transaction)
        .await
        .unwrap();
    }
}

/// How far the sums go.
async fn folded_through(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT folded_through FROM usage_rollup_state")
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Two overlap, and the one with the lower number of the ledger commits later. Which of the two began first makes no
/// difference: its `xid` may be the lower or the higher one.
#[tokio::test]
async fn a_lower_number_that_commits_later_is_summed_up() {
    let database = TestDatabase::new().await;
    let booked = Booked::new(&database).await;
    let (mut one, mut two, mut sql) = (
        database.sql().await,
        database.sql().await,
        database.sql().await,
    );
    for (round, late_begins_first) in [(0, true), (1, false)] {
        let before = 1 + 2 * round;
        let (mut late, mut early) = if late_begins_first {
            let late = booked.lock(&mut one).await;
            (late, booked.lock(&mut two).await)
        } else {
            let early = booked.lock(&mut two).await;
            (booked.lock(&mut one).await, early)
        };
        booked.book(&mut late).await;
        booked.book(&mut early).await;
        let was_through = folded_through(&mut sql).await;
        early.commit().await.unwrap();
        // Reports know of it; the sums wait, however often they are asked.
        for _ in 0..3 {
            assert_eq!(
                booked.store.fold_usage(1_000).await.unwrap(),
                Folded::Waiting
            );
            assert_eq!(booked.requests().await, before + 1);
        }
        assert_eq!(folded_through(&mut sql).await, was_through);
        late.commit().await.unwrap();
        assert_eq!(booked.requests().await, before + 2);
        booked.fold_all().await;
        assert_eq!(booked.requests().await, before + 2);
        let newest: i64 = sqlx::query_scalar("SELECT max(id) FROM ledger_transactions")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        assert_eq!(folded_through(&mut sql).await, newest);
    }
}

/// Whoever books has its `xid` before it takes a number: what the sums rest on.
#[tokio::test]
async fn a_lock_gives_a_transaction_its_id() {
    let database = TestDatabase::new().await;
    let booked = Booked::new(&database).await;
    let mut connection = database.sql().await;
    let mut transaction = booked.lock(&mut connection).await;
    let has_id: bool = sqlx::query_scalar("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    assert!(has_id);
}

/// One sums up at a time; the others are told to wait, and reports are right meanwhile.
#[tokio::test]
async fn one_replica_sums_up_at_a_time() {
    let database = TestDatabase::new().await;
    let booked = Booked::new(&database).await;
    let mut connection = database.sql().await;
    booked.book(&mut connection).await;
    let mut other = database.sql().await;
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("SELECT FROM usage_rollup_state FOR UPDATE")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(booked.store.fold_usage(10).await.unwrap(), Folded::Waiting);
    assert_eq!(booked.requests().await, 2);
    transaction.rollback().await.unwrap();
    let other = database.serve().await;
    let fold = async |store: &PostgresStore| {
        until(async || store.fold_usage(10).await.unwrap() == Folded::Done).await;
    };
    tokio::join!(fold(&booked.store), fold(&other));
    assert_eq!(booked.requests().await, 2);
}
