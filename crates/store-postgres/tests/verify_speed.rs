//! How long the proof of the ledger takes: fills a database with usage events that add up, and verifies it. Run it on
//! purpose, in a release build:
//! `EVENTS=1000000 cargo test --release -p airouter-store-postgres --test verify_speed -- --ignored --nocapture`.

mod support;

use std::time::Instant;

use airouter_store::conformance::{World, charge};
use sqlx::PgConnection;
use support::{new_store, run};

/// Events a transaction, as a busy server commits them.
const BATCH: i64 = 64;
/// Clients that sent them.
const CLIENTS: usize = 8;

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn a_large_ledger_is_verified() {
    let events = std::env::var("EVENTS").map_or(1_000_000, |events| events.parse().unwrap());
    let (store, database) = new_store().await;
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
    let start = Instant::now();
    copy(&mut database.sql().await, events / BATCH - 1).await;
    println!("filled in {} ms", start.elapsed().as_millis());
    let start = Instant::now();
    let verification = world.store.verify().await.unwrap();
    println!(
        "verified {} events in {} transactions in {} ms",
        verification.events,
        verification.transactions,
        start.elapsed().as_millis(),
    );
    assert_eq!(verification.findings, []);
}

/// Copies the only transaction of usage, sums included.
async fn copy(sql: &mut PgConnection, copies: i64) {
    run(sql, "SET session_replication_role = replica").await;
    let first = "(SELECT id FROM ledger_transactions WHERE kind = 'usage' ORDER BY id LIMIT 1)";
    for statement in [
        format!(
            "CREATE TEMP TABLE copies AS SELECT {first} + number AS id FROM generate_series(1, {copies}) AS number"
        ),
        "INSERT INTO ledger_transactions (id, kind, created_at) SELECT id, 'usage', now() FROM copies".to_owned(),
        format!(
            "INSERT INTO ledger_postings SELECT c.id, p.ledger_account_id, p.amount_nanos
            FROM copies c JOIN ledger_postings p ON p.transaction_id = {first}"
        ),
        format!(
            "INSERT INTO request_logs
            SELECT copy.* FROM copies c JOIN request_logs r ON r.transaction_id = {first},
                jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid(), 'transaction_id', c.id)) AS copy
            ORDER BY c.id"
        ),
        format!(
            "UPDATE ledger_accounts SET balance_nanos = ledger_accounts.balance_nanos + {copies} * p.amount_nanos
            FROM ledger_postings p WHERE p.transaction_id = {first} AND p.ledger_account_id = ledger_accounts.id"
        ),
        format!(
            "UPDATE balances SET balance_nanos = balances.balance_nanos - {copies} * p.amount_nanos,
                lifetime_spent_nanos = lifetime_spent_nanos + {copies} * p.amount_nanos
            FROM ledger_postings p JOIN ledger_accounts a ON a.id = p.ledger_account_id
            WHERE p.transaction_id = {first} AND a.kind = 'client_balance' AND a.owner_id = balances.account_id"
        ),
        "VACUUM ANALYZE".to_owned(),
    ] {
        run(sql, &statement).await;
    }
}
