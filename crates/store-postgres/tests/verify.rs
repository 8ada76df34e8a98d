//! Corruptions planted by plain SQL, by somebody who knows how to get round the triggers: each is found, and named.

mod support;

use airouter_billing::event::Payment;
use airouter_billing::{Period, Quantity};
use airouter_store::clients::NewCap;
use airouter_store::conformance::{Client, World, charge, new_person};
use airouter_store::ledger::Check;
use sqlx::PgConnection;
use support::{TestDatabase, new_store, run};

/// A store with a client that has a cap, three transactions of usage, and what its owner may do to the database.
struct Books {
    world: World,
    client: Client,
    /// The requests of the second transaction.
    requests: Vec<String>,
    sql: PgConnection,
    _database: TestDatabase,
}

impl Books {
    async fn new() -> Self {
        let (store, database) = new_store().await;
        let world = World::new(store).await;
        let mut person = new_person(Payment::Prepaid);
        person.caps = vec![NewCap {
            quantity: Quantity::Requests,
            period: Period::Day,
            cap: 100,
        }];
        let client = world.client(person, Vec::new()).await;
        world.adjust(&client, 1_000_000).await;
        let budgets = world.snapshot(&client).await.budgets;
        let mut requests = Vec::new();
        for transaction in 0..3 {
            let mut events = Vec::new();
            for _ in 0..2 {
                let mut event = world.event(&client, &format!("0.00000{transaction}1"));
                event.charges = budgets
                    .iter()
                    .map(|budget| match budget.quantity {
                        Quantity::Requests => charge(*budget, 0, 1),
                        Quantity::Nanos => charge(*budget, 0, event.price.get()),
                    })
                    .collect();
                if transaction == 1 {
                    requests.push(event.request.id.to_string());
                }
                events.push(event);
            }
            world.commit(events).await;
        }
        world.lease(client.balance(), 1_000).await;
        world.assert_adds_up(6).await;
        let mut sql = database.sql().await;
        run(&mut sql, "SET session_replication_role = replica").await;
        Self {
            world,
            client,
            requests,
            sql,
            _database: database,
        }
    }

    /// Panics unless this is found out, as something wrong with `subject`.
    async fn assert_found(mut self, statement: &str, check: Check, subject: &str) {
        run(&mut self.sql, statement).await;
        let findings = self.world.findings().await;
        let is_found = findings
            .iter()
            .any(|finding| finding.check == check && finding.subject.contains(subject));
        assert!(is_found, "{statement}: {findings:?}");
    }
}

#[tokio::test]
async fn a_balance_and_a_lifetime_that_are_off_by_a_nano_dollar() {
    let books = Books::new().await;
    let account = books.client.account.to_string();
    let statement = "UPDATE balances SET balance_nanos = balance_nanos + 1";
    books
        .assert_found(statement, Check::ClientBalance, &account)
        .await;
    let books = Books::new().await;
    let account = books.client.account.to_string();
    let statement = "UPDATE balances SET lifetime_spent_nanos = lifetime_spent_nanos - 1";
    books
        .assert_found(statement, Check::Lifetime, &account)
        .await;
}

#[tokio::test]
async fn a_ledger_balance_and_a_posting_that_were_altered() {
    let statement =
        "UPDATE ledger_accounts SET balance_nanos = balance_nanos + 1 WHERE kind = 'revenue'";
    let books = Books::new().await;
    books
        .assert_found(statement, Check::AccountBalance, "revenue")
        .await;
    let statement = "UPDATE ledger_postings SET amount_nanos = amount_nanos + 1
        WHERE (transaction_id, ledger_account_id) = (SELECT transaction_id, ledger_account_id FROM ledger_postings LIMIT 1)";
    let books = Books::new().await;
    books
        .assert_found(statement, Check::TransactionBalances, "transaction ")
        .await;
}

#[tokio::test]
async fn an_event_that_was_deleted_or_altered() {
    let books = Books::new().await;
    let statement = format!(
        "DELETE FROM request_logs WHERE id = '{}'",
        books.requests[0]
    );
    books
        .assert_found(&statement, Check::EventsPosted, "revenue")
        .await;
    let books = Books::new().await;
    let request = books.requests[1].clone();
    let statement = format!(
        "UPDATE request_logs SET price_nanos = price_nanos + 1, charged_nanos = charged_nanos + 1 WHERE id = '{request}'"
    );
    books
        .assert_found(&statement, Check::EventPriced, &request)
        .await;
}

#[tokio::test]
async fn a_reservation_and_what_is_spent_of_a_budget_that_were_altered() {
    let books = Books::new().await;
    let account = books.client.account.to_string();
    let statement = "UPDATE leases SET amount = amount - 1";
    books
        .assert_found(statement, Check::Reserved, &account)
        .await;
    let books = Books::new().await;
    let account = books.client.account.to_string();
    let statement = "UPDATE budget_periods SET spent = spent + 1";
    books
        .assert_found(statement, Check::BudgetSpent, &account)
        .await;
}

#[tokio::test]
async fn orphans() {
    let books = Books::new().await;
    let statement =
        "DELETE FROM ledger_transactions WHERE id = (SELECT max(id) FROM ledger_transactions)";
    books
        .assert_found(statement, Check::Orphan, "a posting of transaction")
        .await;
    let books = Books::new().await;
    let statement = "UPDATE request_logs SET transaction_id = 999999";
    books
        .assert_found(statement, Check::Orphan, "the events of transaction 999999")
        .await;
}

/// Panics unless this is found out of books with a correction, as something wrong with the request or with `subject`.
async fn assert_correction_found(statement: &str, check: Check, subject: Option<&str>) {
    let books = Books::new().await;
    let event = books.world.corrected(&books.client, "0.0000021").await;
    assert_eq!(books.world.findings().await, []);
    let request = event.request.id.to_string();
    books
        .assert_found(statement, check, subject.unwrap_or(&request))
        .await;
}

const LAST: &str = "(SELECT max(id) FROM ledger_transactions)";

#[tokio::test]
async fn a_correction_whose_amounts_were_altered() {
    let statement = "UPDATE request_corrections SET price_nanos = price_nanos + 1, charged_nanos = charged_nanos + 1";
    assert_correction_found(statement, Check::EventPriced, None).await;
    let statement = format!(
        "UPDATE ledger_postings SET amount_nanos = amount_nanos + 1 WHERE transaction_id = {LAST}
            AND ledger_account_id = (SELECT id FROM ledger_accounts WHERE kind = 'loss_crash')"
    );
    assert_correction_found(&statement, Check::EventsPosted, Some("loss_crash")).await;
}

#[tokio::test]
async fn a_correction_that_names_another_entry() {
    let statement =
        format!("UPDATE ledger_transactions SET corrects = corrects - 1 WHERE id = {LAST}");
    assert_correction_found(&statement, Check::Correction, None).await;
}

#[tokio::test]
async fn a_correction_of_what_was_no_such_loss() {
    let statement =
        "UPDATE request_logs SET loss_reason = 'failed_attempt' WHERE loss_reason = 'crash'";
    assert_correction_found(statement, Check::Correction, None).await;
    let statement = "DELETE FROM request_logs WHERE loss_reason = 'crash'";
    assert_correction_found(statement, Check::Correction, None).await;
}

#[tokio::test]
async fn a_correction_that_was_deleted_or_doubled() {
    let statement = "DELETE FROM request_corrections";
    assert_correction_found(statement, Check::EventsPosted, Some("revenue")).await;
    let statement = "ALTER TABLE request_corrections DROP CONSTRAINT request_corrections_pkey;
        INSERT INTO request_corrections SELECT * FROM request_corrections";
    assert_correction_found(statement, Check::Correction, Some("corrected twice")).await;
}

#[tokio::test]
async fn corrections_are_append_only() {
    let mut books = Books::new().await;
    books.world.corrected(&books.client, "0.0000021").await;
    run(&mut books.sql, "SET session_replication_role = origin").await;
    for statement in [
        "UPDATE request_corrections SET charged_nanos = 0, uncollected_nanos = price_nanos",
        "DELETE FROM request_corrections",
        "TRUNCATE request_corrections",
    ] {
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut books.sql)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
}
