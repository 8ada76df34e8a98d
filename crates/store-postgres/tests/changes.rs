//! The change log: nothing is missed and nothing told twice, however transactions overlap.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, ApiKeyId, BudgetId};
use airouter_store::clients::{
    Change, ChangePosition, Clients as _, MemberRole, NewMember, NewOrganization, RequestLimits,
};
use airouter_store::conformance::{START, World, new_person};
use airouter_store::leases::Leases as _;
use airouter_store_postgres::PostgresStore;
use sqlx::{Connection as _, PgConnection};
use support::{PATIENCE, TestDatabase, run, until};
use tokio::time::timeout;
use uuid::Uuid;

async fn present(store: &PostgresStore) -> ChangePosition {
    let none = ChangePosition::default();
    store.changes_since(&none).await.unwrap().position
}

/// What is new; the position moves on.
async fn new(store: &PostgresStore, position: &mut ChangePosition) -> Vec<Change> {
    let changes = store.changes_since(position).await.unwrap();
    assert!(!changes.overflow);
    *position = changes.position;
    changes.changes
}

async fn note_key(connection: &mut PgConnection, id: Uuid) {
    sqlx::query("INSERT INTO change_log (kind, id) VALUES ('key', $1)")
        .bind(id)
        .execute(connection)
        .await
        .unwrap();
}

/// Waits until no transaction before `oldest` runs. Snapshots are of the whole server: other tests are in them.
async fn until_oldest_is(connection: &mut PgConnection, oldest: &str) {
    until(async || {
        sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8")
            .bind(oldest)
            .fetch_one(&mut *connection)
            .await
            .unwrap()
    })
    .await;
}

async fn text(connection: &mut PgConnection, query: &'static str) -> String {
    sqlx::query_scalar(query)
        .fetch_one(connection)
        .await
        .unwrap()
}

fn key(id: Uuid) -> Change {
    Change::Key(ApiKeyId::new(id))
}

#[tokio::test]
async fn a_change_that_commits_after_a_later_one_is_told() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let (mut early, mut late) = (database.sql().await, database.sql().await);
    let (first, second, third) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let mut position = present(&store).await;
    let mut slow = early.begin().await.unwrap();
    note_key(&mut slow, first).await;
    note_key(&mut late, second).await;
    assert_eq!(new(&store, &mut position).await, [key(second)]);
    assert_eq!(new(&store, &mut position).await, []);
    note_key(&mut late, third).await;
    slow.commit().await.unwrap();
    assert_eq!(new(&store, &mut position).await, [key(first), key(third)]);
    assert_eq!(new(&store, &mut position).await, []);
    let mut given_up = early.begin().await.unwrap();
    note_key(&mut given_up, first).await;
    assert_eq!(new(&store, &mut position).await, []);
    given_up.rollback().await.unwrap();
    assert_eq!(new(&store, &mut position).await, []);
}

/// Writers that overlap at random, and a reader that never waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_many_writers_is_told_once() {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 150;
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let mut position = present(&store).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut sql = database.sql().await;
        writers.spawn(async move {
            let mut kept = Vec::new();
            for round in 0..ROUNDS {
                let ids: Vec<Uuid> = (0..1 + (round + writer) % 3)
                    .map(|_| Uuid::now_v7())
                    .collect();
                let mut transaction = sql.begin().await.unwrap();
                for id in &ids {
                    note_key(&mut transaction, *id).await;
                }
                for _ in 0..(round * 7 + writer * 3) % 5 {
                    tokio::task::yield_now().await;
                    run(&mut transaction, "SELECT 1").await;
                }
                if (round + writer) % 4 == 0 {
                    transaction.rollback().await.unwrap();
                } else {
                    transaction.commit().await.unwrap();
                    kept.extend(ids);
                }
            }
            kept
        });
    }
    let done = Arc::clone(&is_done);
    let reader = async {
        let mut told: BTreeMap<Uuid, u32> = BTreeMap::new();
        let mut polls = 0_u32;
        loop {
            let is_last = done.load(Ordering::SeqCst);
            for change in new(&store, &mut position).await {
                let Change::Key(id) = change else { continue };
                *told.entry(id.get()).or_default() += 1;
            }
            polls += 1;
            if is_last {
                break (told, polls);
            }
        }
    };
    let writing = async {
        let kept = writers.join_all().await;
        is_done.store(true, Ordering::SeqCst);
        kept
    };
    let ((told, polls), kept) = tokio::join!(reader, writing);
    let expected: BTreeMap<Uuid, u32> = kept.into_iter().flatten().map(|id| (id, 1)).collect();
    assert!(polls > 20, "only {polls} looks");
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_position_before_what_was_pruned_is_an_overflow() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let replica = store.register_replica(START).await.unwrap();
    let mut sql = database.sql().await;
    let many = |count: u32| {
        format!("INSERT INTO change_log (kind) SELECT 'prices' FROM generate_series(1, {count})")
    };
    let old = present(&store).await;
    run(&mut sql, &many(600)).await;
    run(&mut sql, &many(10_000)).await;
    let last = text(
        &mut sql,
        "SELECT max(xid::text::bigint)::text FROM change_log",
    )
    .await;
    until_oldest_is(&mut sql, &last).await;
    let mut recent = present(&store).await;
    run(&mut sql, &many(1)).await;
    store.renew(replica, START).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM change_log")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!(kept, 10_001);
    let changes = store.changes_since(&old).await.unwrap();
    assert!(changes.overflow && changes.changes.is_empty());
    assert_eq!(new(&store, &mut recent).await, [Change::Prices]);
    let mut after = changes.position;
    assert_eq!(new(&store, &mut after).await, []);
}

/// What still runs is not pruned away, nor does it make every position after it an overflow.
#[tokio::test]
async fn pruning_leaves_what_has_not_committed() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let replica = store.register_replica(START).await.unwrap();
    let (mut early, mut late) = (database.sql().await, database.sql().await);
    let id = Uuid::now_v7();
    let mut slow = early.begin().await.unwrap();
    note_key(&mut slow, id).await;
    let oldest = text(&mut slow, "SELECT pg_current_xact_id()::text").await;
    until_oldest_is(&mut late, &oldest).await;
    run(
        &mut late,
        "INSERT INTO change_log (kind) SELECT 'prices' FROM generate_series(1, 10100)",
    )
    .await;
    run(&mut late, "INSERT INTO change_log (kind) VALUES ('prices')").await;
    let mut position = present(&store).await;
    store.renew(replica, START).await.unwrap();
    assert_eq!(new(&store, &mut position).await, []);
    slow.commit().await.unwrap();
    assert_eq!(new(&store, &mut position).await, [key(id)]);
}

/// After a crash numbers of transactions may be given again; the server shows one by an empty table.
#[tokio::test]
async fn after_a_crash_everything_is_read_again() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let before = present(&store).await;
    let mut sql = database.sql().await;
    let persistence: String = sqlx::query_scalar(
        "SELECT relpersistence::text FROM pg_class WHERE oid = 'server_lives'::regclass",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(persistence, "u", "a crash empties unlogged tables only");
    run(&mut sql, "TRUNCATE server_lives").await;
    let changes = store.changes_since(&before).await.unwrap();
    assert!(changes.overflow);
    let mut position = changes.position;
    run(&mut sql, "INSERT INTO change_log (kind) VALUES ('prices')").await;
    assert_eq!(new(&store, &mut position).await, [Change::Prices]);
    let nonsense = ChangePosition::new("nonsense".to_owned());
    assert!(store.changes_since(&nonsense).await.unwrap().overflow);
}

/// A row that can't be read says that something changed, but not what; it does not hide what comes behind it.
#[tokio::test]
async fn a_change_that_cannot_be_read_does_not_stop_the_others() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let before = present(&store).await;
    let mut sql = database.sql().await;
    run(
        &mut sql,
        "INSERT INTO change_log (kind, id) VALUES ('key', NULL), ('prices', NULL)",
    )
    .await;
    let changes = store.changes_since(&before).await.unwrap();
    assert!(changes.overflow);
    assert_eq!(changes.changes, [Change::Prices]);
    let mut after = changes.position;
    assert_eq!(new(&store, &mut after).await, []);
}

/// Hints come, and come again after the listening connection was lost.
#[tokio::test]
async fn a_change_is_hinted_at() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let mut sql = database.sql().await;
    // It listens.
    timeout(PATIENCE, store.change_hint()).await.unwrap();
    run(&mut sql, "INSERT INTO change_log (kind) VALUES ('prices')").await;
    timeout(PATIENCE, store.change_hint()).await.unwrap();
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(ended, 1);
    timeout(PATIENCE, store.change_hint()).await.unwrap();
    run(&mut sql, "INSERT INTO change_log (kind) VALUES ('prices')").await;
    timeout(PATIENCE, store.change_hint()).await.unwrap();
}

/// Plain SQL acts too.
#[tokio::test]
async fn what_plain_sql_changes_is_told() {
    let database = TestDatabase::new().await;
    let world = World::new(Arc::new(database.serve().await)).await;
    let store = database.serve().await;
    let mut person = new_person(Payment::Prepaid);
    person.tier = Some("free".to_owned());
    let client = world.client(person, Vec::new()).await;
    let tier_budget = world.snapshot(&client).await.budgets[0].id;
    let mut sql = database.sql().await;
    let mut position = present(&store).await;
    let account = Change::Account(client.account);
    for (statement, expected) in [
        ("UPDATE accounts SET status = 'disabled'", vec![account]),
        ("UPDATE users SET status = 'disabled'", vec![account]),
        ("UPDATE users SET name = 'Grace'", vec![]),
        (
            "UPDATE api_keys SET allowed_models = '{a/b}'",
            vec![Change::Key(client.key)],
        ),
        ("UPDATE api_keys SET last_used_at = now()", vec![]),
        (
            "UPDATE balances SET credit_line_nanos = 5",
            vec![Change::Budget(BudgetId::Balance(client.account))],
        ),
        (
            "UPDATE tiers SET monthly_limit_nanos = 7 WHERE name = 'free'",
            vec![Change::Budget(tier_budget), Change::Prices],
        ),
        (
            "UPDATE accounts SET tier = 'admin'",
            vec![account, Change::Budget(tier_budget), account],
        ),
        (
            "UPDATE master_accounts SET status = 'paused'",
            vec![Change::MasterAccounts],
        ),
        (
            "INSERT INTO plan_versions (plan_id, rule, policy, created_at)
            SELECT plan_id, rule, policy, now() FROM plan_versions",
            vec![Change::Prices],
        ),
        ("DELETE FROM api_keys", vec![Change::Key(client.key)]),
    ] {
        run(&mut sql, statement).await;
        let mut told = new(&store, &mut position).await;
        let mut expected = expected;
        // Triggers of one statement run in the order of their names.
        told.sort_by_key(|change| format!("{change:?}"));
        expected.sort_by_key(|change| format!("{change:?}"));
        assert_eq!(told, expected, "{statement}");
    }
}

#[tokio::test]
async fn members_that_come_and_go_are_told() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let organization = NewOrganization {
        account: AccountId::new(Uuid::now_v7()),
        name: "School".to_owned(),
        parent: None,
        payment: Payment::Prepaid,
        tier: None,
        caps: Vec::new(),
        limits: RequestLimits::default(),
        at: START,
    };
    store.create_organization(&organization).await.unwrap();
    let person = new_person(Payment::Metered);
    store.create_person(&person).await.unwrap();
    let mut position = present(&store).await;
    let member = NewMember {
        organization: organization.account,
        person: person.account,
        role: MemberRole::Owner,
        caps: Vec::new(),
        at: START,
    };
    store.add_member(&member).await.unwrap();
    let told = [Change::Account(organization.account)];
    assert_eq!(new(&store, &mut position).await, told);
    let mut sql = database.sql().await;
    run(&mut sql, "UPDATE memberships SET role = 'member'").await;
    assert_eq!(new(&store, &mut position).await, told);
    run(&mut sql, "DELETE FROM memberships").await;
    assert_eq!(new(&store, &mut position).await, told);
}
