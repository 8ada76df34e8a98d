//! Opening the database, and what its connections are like.

mod support;

use std::sync::Arc;

use airouter_billing::event::Payment;
use airouter_billing::{BudgetId, Nanos};
use airouter_store::clients::{Change, ChangePosition, Clients as _};
use airouter_store::conformance::{START, World, new_person};
use airouter_store::leases::Leases as _;
use airouter_store::ledger::{Adjustment, Ledger as _};
use airouter_store_postgres::{OpenError, OpenMode, PostgresStore};
use sqlx::Row as _;
use support::{TestDatabase, run};

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let database = TestDatabase::empty().await;
    let url = database.url();
    let (one, two, three, four) = tokio::join!(
        PostgresStore::open(&url, OpenMode::Serve),
        PostgresStore::open(&url, OpenMode::Serve),
        PostgresStore::migrate(&url),
        PostgresStore::open(&url, OpenMode::Tool),
    );
    three.unwrap();
    for store in [one, two, four] {
        store.unwrap().ping().await.unwrap();
    }
    let mut sql = database.sql().await;
    let applied = sqlx::query("SELECT version, success FROM _sqlx_migrations ORDER BY version")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    let versions: Vec<i64> = applied.iter().map(|row| row.get("version")).collect();
    let expected: Vec<i64> = (1..=i64::try_from(versions.len()).unwrap()).collect();
    assert_eq!(versions, expected);
    assert!(applied.iter().all(|row| row.get("success")));
}

/// What a migration that was cut off has left of an index is not taken for one.
#[tokio::test]
async fn an_index_that_was_cut_off_is_built_anew() {
    let database = TestDatabase::new().await;
    let (mut writer, mut sql) = (database.sql().await, database.sql().await);
    run(&mut sql, "DROP INDEX request_logs_by_payer").await;
    run(
        &mut sql,
        "DELETE FROM _sqlx_migrations WHERE description = 'requests of payers'",
    )
    .await;
    // It waits for whoever writes, and is cut off.
    run(&mut writer, "BEGIN").await;
    run(&mut writer, "LOCK TABLE request_logs IN ROW EXCLUSIVE MODE").await;
    run(&mut sql, "SET statement_timeout = '200ms'").await;
    let build = "CREATE INDEX CONCURRENTLY request_logs_by_payer ON request_logs (payer_id, id)";
    sqlx::raw_sql(build).execute(&mut sql).await.unwrap_err();
    let is_valid = async |sql: &mut sqlx::PgConnection| -> bool {
        let query =
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'request_logs_by_payer'::regclass";
        sqlx::query_scalar(query).fetch_one(sql).await.unwrap()
    };
    assert!(!is_valid(&mut sql).await);
    run(&mut writer, "ROLLBACK").await;
    PostgresStore::migrate(&database.url()).await.unwrap();
    assert!(is_valid(&mut sql).await);
}

/// A replica of the version before starts again while the first ones of the next version run.
#[tokio::test]
async fn a_schema_that_is_newer_is_served() {
    let database = TestDatabase::new().await;
    let mut sql = database.sql().await;
    run(
        &mut sql,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', true, '', 0)",
    )
    .await;
    database.serve().await.ping().await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_an_error_without_the_password() {
    let url = "postgres://ann:secret@127.0.0.1:1/router?password=secret";
    let error = PostgresStore::open(url, OpenMode::Serve).await.unwrap_err();
    assert!(matches!(error, OpenError::Database(_)));
    assert!(!format!("{error} {error:?}").contains("secret"));
    let error = PostgresStore::migrate("secret").await.unwrap_err();
    assert!(matches!(error, OpenError::Address));
    assert!(!format!("{error} {error:?}").contains("secret"));
}

/// Commits are durable even where the server is configured otherwise, and nothing waits for ever.
#[tokio::test]
async fn connections_commit_durably_and_within_limits() {
    let database = TestDatabase::new().await;
    let mut sql = database.sql().await;
    run(
        &mut sql,
        &format!(
            "ALTER DATABASE {} SET synchronous_commit = off",
            database.name()
        ),
    )
    .await;
    run(
        &mut sql,
        "CREATE TABLE settings (place text, durable text, statement text, lock text, idle text, name text);
        CREATE FUNCTION note_settings() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO settings VALUES (
                TG_TABLE_NAME, current_setting('synchronous_commit'), current_setting('statement_timeout'),
                current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),
                current_setting('application_name')
            );
            RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER INSERT ON users EXECUTE FUNCTION note_settings();
        CREATE TRIGGER note AFTER INSERT ON replicas EXECUTE FUNCTION note_settings();",
    )
    .await;
    let store = database.serve().await;
    store
        .create_person(&new_person(Payment::Metered))
        .await
        .unwrap();
    store.register_replica(START).await.unwrap();
    let rows = sqlx::query("SELECT * FROM settings ORDER BY place DESC")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    let seen: Vec<Vec<String>> = rows
        .iter()
        .map(|row| (0..6).map(|column| row.get(column)).collect())
        .collect();
    assert_eq!(
        seen,
        [
            ["users", "on", "30s", "3s", "10s", "airouter"],
            ["replicas", "on", "5s", "3s", "10s", "airouter"],
        ]
    );
}

#[tokio::test]
async fn what_a_tool_changes_the_server_hears_of() {
    let database = TestDatabase::new().await;
    let world = World::new(Arc::new(database.serve().await)).await;
    let client = world.prepaid(0).await;
    let start = ChangePosition::default();
    let before = world.store.changes_since(&start).await.unwrap();
    let tool = PostgresStore::open(&database.url(), OpenMode::Tool)
        .await
        .unwrap();
    let credit = Adjustment {
        account: client.account,
        amount: Nanos::new(5),
        reason: "a gift".to_owned(),
        actor: "command line".to_owned(),
        at: START,
    };
    tool.adjust(&credit).await.unwrap();
    let changes = world.store.changes_since(&before.position).await.unwrap();
    let balance = BudgetId::Balance(client.account);
    assert_eq!(changes.changes, [Change::Budget(balance)]);
    assert!(!tool.has_admin().await.unwrap());
}
