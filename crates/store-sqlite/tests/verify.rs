//! Corruptions planted by plain SQL, by somebody who knows how to get round the triggers: each is found, and named.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: what goes wrong fails them"
)]

use std::sync::Arc;

use airouter_billing::event::Payment;
use airouter_billing::reconciliation::{About, FindingKey, Observed, Purse};
use airouter_billing::{Nanos, Period, Quantity, UtcDay};
use airouter_store::Store;
use airouter_store::clients::NewCap;
use airouter_store::conformance::{Client, START, World, charge};
use airouter_store::ledger::{Check, Finding};
use airouter_store_sqlite::{OpenMode, SqliteStore};
use rust_decimal::Decimal;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use tempfile::TempDir;

/// A store with two clients, three transactions of usage and what its owner may do to the file.
struct Books {
    world: World,
    client: Client,
    requests: Vec<String>,
    sql: SqliteConnection,
    _directory: TempDir,
}

impl Books {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("airouter.db");
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&path, OpenMode::Serve).await.unwrap());
        let world = World::new(store).await;
        let other = world.prepaid(1_000_000).await;
        let client = world.prepaid(1_000_000).await;
        let mut requests = Vec::new();
        for batch in 0..3 {
            let mut events = Vec::new();
            for spender in [&client, &other, &client] {
                world.lease(spender.balance(), 1_000).await;
                let mut event = world.event(spender, &format!("0.00000{batch}1"));
                event.charges = vec![charge(spender.balance(), event.price.get(), 0)];
                requests.push(event.request.id.to_string());
                events.push(event);
            }
            world.commit(events).await;
        }
        world.assert_adds_up(9).await;
        let mut sql = SqliteConnectOptions::new()
            .filename(&path)
            .foreign_keys(false)
            .connect()
            .await
            .unwrap();
        for table in [
            "ledger_postings",
            "ledger_transactions",
            "request_logs",
            "request_corrections",
        ] {
            for trigger in ["keep", "stay"] {
                let drop = format!("DROP TRIGGER {table}_{trigger}");
                sql.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
            }
        }
        Self {
            world,
            client,
            requests,
            sql,
            _directory: directory,
        }
    }

    /// Changes exactly one row, then looks for what is wrong.
    async fn plant(&mut self, statement: &'static str) -> Vec<Finding> {
        let done = self.sql.execute(statement).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{statement}");
        self.world.findings().await
    }

    fn account(&self) -> String {
        self.client.account.to_string()
    }
}

/// The finding of this check about this subject, as what was expected and what was found.
fn amounts(findings: &[Finding], check: Check, subject: &str) -> (i128, i128) {
    let mut matching = findings
        .iter()
        .filter(|finding| finding.check == check && finding.subject.contains(subject));
    let Some(finding) = matching.next() else {
        panic!("no {check:?} about {subject} in {findings:#?}");
    };
    (finding.expected, finding.found)
}

#[tokio::test]
async fn a_balance_that_is_off_by_a_nano_dollar() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "UPDATE balances SET balance_nanos = balance_nanos + 1
            WHERE account_id = (SELECT account_id FROM balances ORDER BY account_id DESC LIMIT 1)",
        )
        .await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let (expected, found) = amounts(&findings, Check::ClientBalance, &books.account());
    assert_eq!(found, expected + 1);
}

#[tokio::test]
async fn a_ledger_balance_that_is_off_by_a_nano_dollar() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "UPDATE ledger_accounts SET balance_nanos = balance_nanos - 1 WHERE kind = 'revenue'",
        )
        .await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let (expected, found) = amounts(&findings, Check::AccountBalance, "revenue");
    assert_eq!(found, expected - 1);
}

#[tokio::test]
async fn a_posting_that_was_altered() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "UPDATE ledger_postings SET amount_nanos = amount_nanos + 7
            WHERE transaction_id = (SELECT max(transaction_id) FROM ledger_postings)
                AND ledger_account_id = (SELECT id FROM ledger_accounts WHERE kind = 'client_balance'
                    ORDER BY owner_id DESC LIMIT 1)",
        )
        .await;
    let transaction = "transaction 5";
    assert_eq!(
        amounts(&findings, Check::TransactionBalances, transaction),
        (0, 7)
    );
    let (expected, found) = amounts(&findings, Check::EventsPosted, &books.account());
    assert_eq!(found, expected + 7);
    let (expected, found) = amounts(&findings, Check::AccountBalance, &books.account());
    assert_eq!(found, expected - 7);
    let (expected, found) = amounts(&findings, Check::ClientBalance, &books.account());
    assert_eq!(found, expected + 7);
    let (expected, found) = amounts(&findings, Check::Lifetime, &books.account());
    assert_eq!(found, expected - 7);
}

#[tokio::test]
async fn a_posting_that_was_deleted() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "DELETE FROM ledger_postings
            WHERE transaction_id = (SELECT max(transaction_id) FROM ledger_postings)
                AND ledger_account_id = (SELECT id FROM ledger_accounts WHERE kind = 'revenue')",
        )
        .await;
    let (expected, found) = amounts(&findings, Check::TransactionBalances, "transaction 5");
    assert!(expected == 0 && found > 0);
    let (booked, posted) = amounts(&findings, Check::EventsPosted, "transaction 5, revenue");
    assert_eq!((booked, posted), (-found, 0));
}

#[tokio::test]
async fn an_event_that_was_deleted() {
    let mut books = Books::new().await;
    let findings = books.plant("DELETE FROM request_logs WHERE seq = 6").await;
    // The sixth event: two of the client and one of the other at 0.0000011 USD, 880 nano-dollars each.
    let (booked, posted) = amounts(&findings, Check::EventsPosted, &books.account());
    assert_eq!(posted - booked, 880);
    let (booked, posted) = amounts(&findings, Check::EventsPosted, "revenue");
    assert_eq!(posted - booked, -880);
}

#[tokio::test]
async fn an_event_that_was_doubled() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "INSERT INTO request_logs
            SELECT 100, randomblob(16), transaction_id, api_key_id, payer_id, price_terms_id, budget_set_id,
                generation_id, model, provider, delivery, ending, prompt_tokens, completion_tokens, cached_tokens,
                cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, reported_cost, cost_source,
                upstream_inference_cost, list_cost, cost_nanos, price_nanos, charged_nanos, uncollected_nanos,
                charged_requests, loss_reason, hold_nanos, admitted_at, finished_at, first_byte_micros
            FROM request_logs WHERE seq = 4",
        )
        .await;
    let (booked, posted) = amounts(&findings, Check::EventsPosted, &books.account());
    assert_eq!(booked - posted, 880);
    assert!(amounts(&findings, Check::EventsPosted, "transaction 4").0 != 0);
}

#[tokio::test]
async fn a_price_that_was_altered_by_a_nano_dollar() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "UPDATE request_logs SET price_nanos = price_nanos + 1, charged_nanos = charged_nanos + 1
            WHERE seq = 6",
        )
        .await;
    let request = &books.requests[5];
    assert_eq!(amounts(&findings, Check::EventPriced, request), (880, 881));
    let (booked, posted) = amounts(&findings, Check::EventsPosted, &books.account());
    assert_eq!(booked, posted + 1);
}

#[tokio::test]
async fn a_cost_that_was_altered_by_a_nano_dollar() {
    let mut books = Books::new().await;
    let findings = books
        .plant("UPDATE request_logs SET cost_nanos = cost_nanos - 1 WHERE seq = 6")
        .await;
    let request = &books.requests[5];
    assert_eq!(amounts(&findings, Check::EventPriced, request), (330, 329));
}

#[tokio::test]
async fn a_list_cost_that_was_altered() {
    let mut books = Books::new().await;
    let findings = books
        .plant("UPDATE request_logs SET list_cost = '0.000002' WHERE seq = 6")
        .await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let request = &books.requests[5];
    assert_eq!(
        amounts(&findings, Check::EventPriced, request),
        (1_100, 2_000)
    );
}

#[tokio::test]
async fn what_reconciliation_posted_without_a_finding() {
    let mut books = Books::new().await;
    let observed = Observed {
        key: FindingKey {
            master_account: books.world.master,
            day: UtcDay::of(START),
            about: About::Day,
            purse: Purse::Credits,
        },
        ours: Decimal::ZERO,
        theirs: Some(Decimal::ONE),
        difference: Nanos::new(1_000_000_000),
        cost_share: Decimal::new(3, 1),
    };
    let recorded = books.world.store.record_finding(&observed, START).await;
    assert!(recorded.unwrap().is_some());
    assert_eq!(books.world.findings().await, []);
    books
        .sql
        .execute("DROP TRIGGER reconciliation_findings_stay")
        .await
        .unwrap();
    let findings = books.plant("DELETE FROM reconciliation_findings").await;
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let found = amounts(&findings, Check::EventsPosted, "reconciliation of account");
    assert_eq!(found, (0, 300_000_000));
    let found = amounts(&findings, Check::EventsPosted, "upstream_credit of account");
    assert_eq!(found, (0, -300_000_000));
}

#[tokio::test]
async fn a_reservation_that_was_altered() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "UPDATE balances SET reserved_nanos = reserved_nanos + 3
            WHERE account_id = (SELECT account_id FROM balances ORDER BY account_id DESC LIMIT 1)",
        )
        .await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let (expected, found) = amounts(&findings, Check::Reserved, &books.account());
    assert_eq!(found, expected + 3);
}

#[tokio::test]
async fn a_lifetime_that_was_altered() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "UPDATE balances SET lifetime_earned_nanos = lifetime_earned_nanos + 3
            WHERE account_id = (SELECT account_id FROM balances ORDER BY account_id DESC LIMIT 1)",
        )
        .await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(
        amounts(&findings, Check::Lifetime, &books.account()),
        (1_000_000, 1_000_003)
    );
}

#[tokio::test]
async fn a_budget_that_was_altered() {
    let mut books = Books::new().await;
    let mut person = airouter_store::conformance::new_person(Payment::Metered);
    person.caps = vec![NewCap {
        quantity: Quantity::Requests,
        period: Period::Day,
        cap: 5,
    }];
    let client = books.world.client(person, Vec::new()).await;
    let budget = books.world.snapshot(&client).await.budgets[0];
    books.world.lease(budget, 1).await;
    let mut event = books.world.event(&client, "0.1");
    event.charges = vec![charge(budget, 1, 0)];
    books.world.commit(vec![event]).await;
    books.world.assert_adds_up(10).await;
    let findings = books.plant("UPDATE budget_periods SET spent = 4").await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let subject = client.account.to_string();
    assert_eq!(amounts(&findings, Check::BudgetSpent, &subject), (1, 4));
}

#[tokio::test]
async fn orphans() {
    let mut books = Books::new().await;
    let findings = books
        .plant(
            "DELETE FROM ledger_transactions WHERE id = (SELECT max(id) FROM ledger_transactions)",
        )
        .await;
    amounts(&findings, Check::Orphan, "the events of transaction 5");
    amounts(&findings, Check::Orphan, "a posting of transaction 5");
}

impl Books {
    /// The books with a correction in transaction 7 of a loss in transaction 6; and the request's name in reports.
    async fn with_correction() -> (Self, String) {
        let books = Self::new().await;
        let event = books.world.corrected(&books.client, "0.0000021").await;
        assert_eq!(books.world.findings().await, []);
        (books, event.request.id.to_string())
    }

    /// Changes one row of books with a correction; this must be found, about the request or about `subject`.
    async fn assert_found(statement: &'static str, check: Check, subject: Option<&str>) {
        let (mut books, request) = Self::with_correction().await;
        let findings = books.plant(statement).await;
        let (expected, found) = amounts(&findings, check, subject.unwrap_or(&request));
        assert_ne!(expected, found);
    }
}

#[tokio::test]
async fn a_correction_whose_amounts_were_altered() {
    Books::assert_found(
        "UPDATE request_corrections SET price_nanos = price_nanos + 1, charged_nanos = charged_nanos + 1",
        Check::EventPriced,
        None,
    )
    .await;
    Books::assert_found(
        "UPDATE request_corrections SET charged_nanos = charged_nanos - 1, uncollected_nanos = uncollected_nanos + 1",
        Check::EventsPosted,
        Some("transaction 7"),
    )
    .await;
}

#[tokio::test]
async fn a_correction_that_takes_back_another_amount() {
    let statement = "UPDATE ledger_postings SET amount_nanos = amount_nanos + 1
        WHERE transaction_id = 7 AND ledger_account_id = (SELECT id FROM ledger_accounts WHERE kind = 'loss_crash')";
    Books::assert_found(
        statement,
        Check::EventsPosted,
        Some("transaction 7, loss_crash"),
    )
    .await;
    let statement = "UPDATE request_logs SET cost_nanos = cost_nanos + 1 WHERE transaction_id = 6";
    Books::assert_found(
        statement,
        Check::EventsPosted,
        Some("transaction 7, loss_crash"),
    )
    .await;
}

#[tokio::test]
async fn a_correction_that_names_another_entry_or_none() {
    let statement = "UPDATE ledger_transactions SET corrects = 5 WHERE id = 7";
    Books::assert_found(statement, Check::Correction, None).await;
    let statement = "UPDATE ledger_transactions SET corrects = NULL WHERE id = 7";
    Books::assert_found(statement, Check::Correction, None).await;
}

#[tokio::test]
async fn a_correction_of_what_was_no_such_loss() {
    let statement =
        "UPDATE request_logs SET loss_reason = 'failed_attempt' WHERE transaction_id = 6";
    Books::assert_found(statement, Check::Correction, None).await;
    let statement = "DELETE FROM request_logs WHERE transaction_id = 6";
    Books::assert_found(statement, Check::Correction, None).await;
}

#[tokio::test]
async fn a_correction_that_was_deleted_or_lost_its_entry() {
    let statement = "DELETE FROM request_corrections";
    Books::assert_found(statement, Check::EventsPosted, Some("transaction 7")).await;
    let statement = "UPDATE request_corrections SET transaction_id = 99";
    Books::assert_found(
        statement,
        Check::Orphan,
        Some("the events of transaction 99"),
    )
    .await;
}

#[tokio::test]
async fn a_request_that_is_corrected_twice() {
    let (mut books, request) = Books::with_correction().await;
    // The table as it was, but without its key.
    books
        .sql
        .execute(
            "PRAGMA legacy_alter_table = ON;
            CREATE TABLE copy AS SELECT * FROM request_corrections;
            DROP TABLE request_corrections;
            ALTER TABLE copy RENAME TO request_corrections",
        )
        .await
        .unwrap();
    let statement = "INSERT INTO request_corrections SELECT * FROM request_corrections";
    let findings = books.plant(statement).await;
    let twice = format!("request {request}, corrected twice");
    assert_eq!(amounts(&findings, Check::Correction, &twice), (1, 2));
}

#[tokio::test]
async fn corrections_are_append_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, OpenMode::Serve).await.unwrap());
    let world = World::new(store).await;
    let client = world.prepaid(1_000_000).await;
    world.corrected(&client, "0.0000021").await;
    let mut sql = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    for statement in [
        "UPDATE request_corrections SET charged_nanos = 0, uncollected_nanos = price_nanos",
        "DELETE FROM request_corrections",
    ] {
        let refused = sql.execute(statement).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
}
