//! Who may open the file, and what they see of each other.

use std::path::Path;
use std::sync::Arc;

use airouter_billing::{BudgetId, Nanos};
use airouter_store::StoreError;
use airouter_store::clients::{Change, ChangePosition, Clients as _};
use airouter_store::conformance::{START, World};
use airouter_store::leases::LeaseRequest;
use airouter_store::ledger::{Adjustment, Ledger as _};
use airouter_store_sqlite::{OpenError, OpenMode, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

async fn serve(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, OpenMode::Serve).await
}

#[tokio::test]
async fn one_server_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let first = serve(&path).await.unwrap();
    assert!(matches!(serve(&path).await, Err(OpenError::InUse { .. })));
    drop(first);
    serve(&path).await.unwrap();
}

#[tokio::test]
async fn what_a_tool_changes_the_server_hears_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let world = World::new(Arc::new(serve(&path).await.unwrap())).await;
    let client = world.prepaid(0).await;
    let before = world
        .store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap();
    let tool = SqliteStore::open(&path, OpenMode::Tool).await.unwrap();
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
    assert_eq!(world.lease(client.balance(), 5).await.amount, 5);
    assert!(tool.verify().await.unwrap().findings.is_empty());
    assert!(!tool.has_admin().await.unwrap());
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let world = World::new(Arc::new(serve(&path).await.unwrap())).await;
    let client = world.prepaid(7).await;
    drop(world);
    SqliteStore::migrate(&path).await.unwrap();
    let store = serve(&path).await.unwrap();
    let balance = store.balance(client.account).await.unwrap();
    assert_eq!(balance.balance, Nanos::new(7));
}

#[tokio::test]
async fn a_directory_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("airouter.db");
    let refused = serve(&path).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::File { .. }));
    assert!(refused.to_string().contains("missing"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let world = World::new(Arc::new(serve(&path).await.unwrap())).await;
    world.prepaid(1).await;
    let mut files = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    // The database, its lock, its write-ahead log and the index of that.
    assert_eq!(files, 4);
}

/// A row that can't be read says that something changed, but not what; it does not hide what comes behind it.
#[tokio::test]
async fn a_change_that_cannot_be_read_does_not_stop_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let world = World::new(Arc::new(serve(&path).await.unwrap())).await;
    let before = world
        .store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap();
    let mut sql = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    sqlx::query("INSERT INTO change_log (kind, id) VALUES ('key', NULL), ('prices', NULL)")
        .execute(&mut sql)
        .await
        .unwrap();
    let changes = world.store.changes_since(&before.position).await.unwrap();
    assert!(changes.overflow);
    assert_eq!(changes.changes, [Change::Prices]);
    let after = world.store.changes_since(&changes.position).await.unwrap();
    assert!(!after.overflow && after.changes.is_empty());
}

/// The constraint of a table with rows is made wider in place, and still holds.
#[tokio::test]
async fn another_kind_of_ledger_account_changes_none_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut sql = SqliteConnectOptions::new()
        .filename(directory.path().join("old.db"))
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite");
    let entries = std::fs::read_dir(migrations).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let add = |kind: &str| {
        format!(
            "INSERT INTO ledger_accounts (kind, owner_id, balance_nanos) VALUES ('{kind}', x'', 7)"
        )
    };
    for file in files {
        if file.ends_with("0010_reconciliation.sql") {
            let refused = sqlx::raw_sql(AssertSqlSafe(add("reconciliation")));
            assert!(refused.execute(&mut sql).await.is_err());
            let added = sqlx::raw_sql(AssertSqlSafe(add("grants")));
            added.execute(&mut sql).await.unwrap();
        }
        let text = std::fs::read_to_string(file).unwrap();
        let mut transaction = sql.begin().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
    let added = sqlx::raw_sql(AssertSqlSafe(add("reconciliation")));
    added.execute(&mut sql).await.unwrap();
    let refused = sqlx::raw_sql(AssertSqlSafe(add("nonsense")));
    assert!(refused.execute(&mut sql).await.is_err());
    let kinds: Vec<String> = sqlx::query_scalar("SELECT kind FROM ledger_accounts ORDER BY kind")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    assert_eq!(kinds, ["grants", "reconciliation"]);
    let check: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!(check, "ok");
}

/// Whoever takes over frees what the one before had, who finds out.
#[tokio::test]
async fn a_new_replica_ends_earlier_leases() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let world = World::new(Arc::new(serve(&path).await.unwrap())).await;
    let client = world.prepaid(100).await;
    world.lease(client.balance(), 100).await;
    let second = world.store.register_replica(START).await.unwrap();
    assert!(second > world.replica);
    let fenced = world.store.renew(world.replica, START).await;
    assert!(matches!(fenced, Err(StoreError::Fenced)));
    let request = LeaseRequest {
        slot: world.slot(client.balance()),
        at_least: 100,
        wish: 100,
    };
    let granted = world.store.lease(second, request, START).await.unwrap();
    assert_eq!(granted.grant.amount, 100);
    world.assert_adds_up(0).await;
}
