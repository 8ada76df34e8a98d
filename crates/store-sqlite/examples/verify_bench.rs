//! How long `ledger verify` takes: fills a database with usage events that add up, and verifies it.
//!
//! `cargo run --release -p airouter-store-sqlite --example verify_bench -- [events, 10,000,000] [file to keep]`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool of the project's own: it stops at the first thing that goes wrong, and prints what it measured"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use airouter_store::Store;
use airouter_store::conformance::{World, charge};
use airouter_store_sqlite::{OpenMode, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Executor as _};

/// Events a transaction, as a busy server commits them.
const BATCH: i64 = 64;
/// Clients that sent them.
const CLIENTS: usize = 8;
/// So many copies of the first transaction are written at once.
const COPIES: i64 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let events: i64 = arguments
        .next()
        .map_or(10_000_000, |count| count.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = arguments
        .next()
        .map_or_else(|| directory.path().join("bench.db"), Into::into);
    if !path.exists() {
        let start = Instant::now();
        fill(&path, events).await;
        println!("filled in {} ms", start.elapsed().as_millis());
    }
    let store = SqliteStore::open(&path, OpenMode::Tool).await.unwrap();
    let store: &dyn Store = &store;
    let start = Instant::now();
    let verification = store.verify().await.unwrap();
    println!(
        "verified {} events in {} transactions in {} ms: {} findings",
        verification.events,
        verification.transactions,
        start.elapsed().as_millis(),
        verification.findings.len()
    );
    assert!(verification.findings.is_empty());
}

/// Commits one batch as a server does, then copies its transaction by SQL, sums included.
async fn fill(path: &Path, events: i64) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, OpenMode::Serve).await.unwrap());
    let world = World::new(store).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = world.prepaid(1_000_000_000_000_000_000).await;
        world.lease(client.balance(), 1_000_000_000_000).await;
        clients.push(client);
    }
    let batch = clients.iter().cycle().take(64).enumerate();
    let batch = batch.map(|(position, client)| {
        let mut event = world.event(client, &format!("0.00{}7", 123 + position));
        event.charges = vec![charge(client.balance(), event.price.get(), 0)];
        event
    });
    world.commit(batch.collect()).await;
    drop(world);
    let mut sql = SqliteConnectOptions::new()
        .filename(path)
        .pragma("cache_size", "-262144")
        .connect()
        .await
        .unwrap();
    let mut left = events / BATCH - 1;
    while left > 0 {
        copy(&mut sql, left.min(COPIES)).await;
        left -= COPIES;
    }
    sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .await
        .unwrap();
}

/// The first transaction of usage comes after the credits.
const FIRST: i64 = CLIENTS as i64 + 1;

async fn copy(sql: &mut SqliteConnection, copies: i64) {
    sql.execute("BEGIN").await.unwrap();
    sql.execute("DROP TABLE IF EXISTS temp.copies")
        .await
        .unwrap();
    let last = "SELECT max(id) FROM ledger_transactions";
    let statements = [
        format!(
            "CREATE TEMP TABLE copies AS
            WITH RECURSIVE copies (id) AS (
                SELECT ({last}) + 1 UNION ALL SELECT id + 1 FROM copies WHERE id < ({last}) + {copies}
            ) SELECT id FROM copies"
        ),
        "INSERT INTO ledger_transactions (id, kind, created_at) SELECT id, 'usage', 0 FROM copies".to_owned(),
        format!(
            "INSERT INTO ledger_postings SELECT c.id, p.ledger_account_id, p.amount_nanos
            FROM copies c JOIN ledger_postings p ON p.transaction_id = {FIRST}"
        ),
        format!(
            "INSERT INTO request_logs
            SELECT NULL, unhex(printf('%016x%016x', c.id, r.seq)), c.id, r.api_key_id, r.payer_id, r.price_terms_id,
                r.budget_set_id, printf('gen-%016x%016x', c.id, r.seq), r.model, r.provider, r.delivery, r.ending,
                r.prompt_tokens, r.completion_tokens, r.cached_tokens, r.cache_write_tokens, r.audio_tokens,
                r.reasoning_tokens, r.image_output_tokens, r.reported_cost, r.cost_source,
                r.upstream_inference_cost, r.list_cost, r.cost_nanos, r.price_nanos, r.charged_nanos,
                r.uncollected_nanos, r.charged_requests, r.loss_reason, r.hold_nanos, r.admitted_at,
                r.finished_at + c.id, r.first_byte_micros
            FROM copies c JOIN request_logs r ON r.seq <= {BATCH} ORDER BY c.id, r.seq"
        ),
        format!(
            "UPDATE ledger_accounts SET balance_nanos = ledger_accounts.balance_nanos + {copies} * p.amount_nanos
            FROM ledger_postings p WHERE p.transaction_id = {FIRST} AND p.ledger_account_id = ledger_accounts.id"
        ),
        format!(
            "UPDATE balances SET balance_nanos = balances.balance_nanos - {copies} * p.amount_nanos,
                lifetime_spent_nanos = lifetime_spent_nanos + {copies} * p.amount_nanos
            FROM ledger_postings p JOIN ledger_accounts a ON a.id = p.ledger_account_id
            WHERE p.transaction_id = {FIRST} AND a.kind = 'client_balance' AND a.owner_id = balances.account_id"
        ),
    ];
    for statement in statements {
        sql.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
    sql.execute("COMMIT").await.unwrap();
}
