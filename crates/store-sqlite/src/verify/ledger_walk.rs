//! The ledger's transactions and the usage events in step: both are in the order in which they were written, so a
//! transaction's events are a run. What is out of order (somebody wrote by hand) is matched at the end.

use std::collections::{BTreeMap, HashMap};

use airouter_billing::UsageEvent;
use airouter_billing::posting::{Posting, Transaction};
use airouter_store::StoreError;
use airouter_store::ledger::Check;
use futures_util::stream::{BoxStream, Peekable, StreamExt as _, TryStreamExt as _};
use sqlx::SqliteConnection;

use super::event_prices::bookable;
use super::event_rows::{self, EventRow};
use super::findings::Findings;
use super::sums::{LedgerAccountKey, Totals};
use crate::connection::failed;
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::shared_rows::PriceTerms;

/// So many transactions that don't match their events are kept for the end; the others are only counted.
const MOST_DIFFERENCES: usize = 100_000;

/// A posting with its transaction, or a transaction without postings.
pub(super) struct PostingRow {
    transaction_id: i64,
    kind: String,
    ledger_account_id: Option<i64>,
    amount_nanos: Option<i64>,
}

type Rows<'a, Row> = Peekable<BoxStream<'a, Result<Row, sqlx::Error>>>;

/// What the events of a transaction come to, and what it posts, by account.
#[derive(Default)]
struct Difference {
    sums: BTreeMap<LedgerAccountKey, (i128, i128)>,
    /// Whether the transaction was met in the ledger.
    exists: bool,
    has_events: bool,
}

impl Difference {
    fn booked(&mut self, postings: &[Posting]) {
        self.has_events = true;
        for posting in postings {
            let sums = self.sums.entry(posting.account.into()).or_default();
            sums.0 += i128::from(posting.amount.get());
        }
    }

    fn is_none(&self) -> bool {
        (self.exists || !self.has_events)
            && self.sums.values().all(|(booked, posted)| booked == posted)
    }
}

/// Events of one transaction, one after the other.
struct Run {
    transaction: i64,
    booked: Transaction,
}

/// One pass over ledger and events.
pub(super) struct LedgerWalk<'a> {
    store: &'a SqliteStore,
    totals: Totals,
    terms: HashMap<i64, (PriceTerms, UsageEvent)>,
    differences: BTreeMap<i64, Difference>,
}

impl<'a> LedgerWalk<'a> {
    pub(super) fn new(store: &'a SqliteStore) -> Self {
        Self {
            store,
            totals: Totals::default(),
            terms: HashMap::new(),
            differences: BTreeMap::new(),
        }
    }

    /// Reads everything once.
    pub(super) async fn run(
        &mut self,
        events: &mut SqliteConnection,
        ledger: &mut SqliteConnection,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        self.totals.read_ledger_accounts(ledger).await?;
        let mut pages = event_rows::pages(events);
        let mut postings = posting_rows(ledger);
        let mut run: Option<Run> = None;
        while let Some(page) = pages.try_next().await? {
            for row in event_rows::rows(&page) {
                let row = row?;
                if run
                    .as_ref()
                    .is_some_and(|run| run.transaction != row.transaction_id)
                {
                    self.close(run.take(), &mut postings, findings).await?;
                }
                let run = run.get_or_insert_with(|| Run {
                    transaction: row.transaction_id,
                    booked: Transaction::default(),
                });
                self.book(&row, &mut run.booked, findings).await?;
            }
        }
        self.close(run, &mut postings, findings).await?;
        self.read_transactions_before(&mut postings, i64::MAX, findings)
            .await
    }

    /// What was out of order has been matched by now: what still differs is wrong.
    pub(super) async fn finish(
        self,
        ledger: &mut SqliteConnection,
        findings: &mut Findings,
    ) -> Result<Totals, StoreError> {
        let mut totals = self.totals;
        for (transaction, difference) in self.differences {
            if !difference.exists {
                let exists = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT 1 FROM ledger_transactions WHERE id = $1) AS "exists!: i64""#,
                    transaction
                )
                .fetch_one(&mut *ledger)
                .await
                .map_err(failed)?;
                let subject = || format!("the events of transaction {transaction}");
                findings.compare(Check::Orphan, subject, 1, exists.into());
            }
            for (account, (booked, posted)) in difference.sums {
                let subject = || format!("transaction {transaction}, {account}");
                findings.compare(Check::EventsPosted, subject, booked, posted);
            }
        }
        totals.read_orphan_postings(ledger, findings).await?;
        Ok(totals)
    }

    /// A run of events of one transaction has ended: they are what the transaction posts.
    async fn close(
        &mut self,
        run: Option<Run>,
        postings: &mut Rows<'_, PostingRow>,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let Some(Run {
            transaction,
            booked,
        }) = run
        else {
            return Ok(());
        };
        self.read_transactions_before(postings, transaction, findings)
            .await?;
        let mut difference = Difference::default();
        difference.booked(&booked.into_postings().map_err(|_| StoreError::OutOfRange)?);
        if let Some(posted) = self
            .read_transaction(postings, transaction, findings)
            .await?
        {
            difference = merge(difference, posted);
        }
        self.keep(transaction, difference, findings);
        Ok(())
    }

    /// Prices one event again and books it.
    async fn book(
        &mut self,
        row: &EventRow<'_>,
        booked: &mut Transaction,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        self.totals.add_event(row);
        if !self.terms.contains_key(&row.price_terms_id) {
            let terms = price_terms(self.store, row.price_terms_id).await?;
            let event = bookable(&terms);
            self.terms.insert(row.price_terms_id, (terms, event));
        }
        let Some((terms, event)) = self.terms.get_mut(&row.price_terms_id) else {
            return Ok(());
        };
        row.check_price(terms, findings);
        row.fill(event)
            .ok_or_else(|| Column::new("request_logs", "loss_reason").corrupt(row.seq))?;
        booked.book(event, row.covered());
        Ok(())
    }

    async fn read_transactions_before(
        &mut self,
        postings: &mut Rows<'_, PostingRow>,
        transaction: i64,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        while let Some(next) = peek_transaction(postings).await? {
            if next >= transaction {
                break;
            }
            if let Some(posted) = self.read_transaction(postings, next, findings).await? {
                self.keep(next, posted, findings);
            }
        }
        Ok(())
    }

    /// Reads one transaction, if it is the next: its sums are added to the totals. `None` when it is not the next; an
    /// adjustment has no events to differ from.
    async fn read_transaction(
        &mut self,
        postings: &mut Rows<'_, PostingRow>,
        transaction: i64,
        findings: &mut Findings,
    ) -> Result<Option<Difference>, StoreError> {
        if peek_transaction(postings).await? != Some(transaction) {
            return Ok(None);
        }
        self.totals.transactions += 1;
        let mut difference = Difference {
            exists: true,
            ..Difference::default()
        };
        let mut sum = 0;
        while let Some(row) = next_if(postings, |row: &PostingRow| {
            row.transaction_id == transaction
        })
        .await?
        {
            let (Some(account), Some(amount)) = (row.ledger_account_id, row.amount_nanos) else {
                continue;
            };
            sum += i128::from(amount);
            let is_usage = row.kind == "usage";
            let key = self.totals.add_posting(account, amount, is_usage);
            if is_usage {
                difference.sums.entry(key).or_default().1 += i128::from(amount);
            }
        }
        let subject = || format!("transaction {transaction}");
        findings.compare(Check::TransactionBalances, subject, 0, sum);
        Ok(Some(difference))
    }

    fn keep(&mut self, transaction: i64, difference: Difference, findings: &mut Findings) {
        let difference = match self.differences.remove(&transaction) {
            Some(kept) => merge(kept, difference),
            None => difference,
        };
        if difference.is_none() {
            return;
        }
        if self.differences.len() >= MOST_DIFFERENCES {
            findings.count();
        } else {
            self.differences.insert(transaction, difference);
        }
    }
}

fn merge(mut left: Difference, right: Difference) -> Difference {
    for (account, (booked, posted)) in right.sums {
        let sums = left.sums.entry(account).or_default();
        sums.0 += booked;
        sums.1 += posted;
    }
    left.exists |= right.exists;
    left.has_events |= right.has_events;
    left
}

fn posting_rows(connection: &mut SqliteConnection) -> Rows<'_, PostingRow> {
    sqlx::query_as!(
        PostingRow,
        r#"SELECT t.id AS "transaction_id!: i64", t.kind AS "kind!: String",
            p.ledger_account_id AS "ledger_account_id?: i64", p.amount_nanos AS "amount_nanos?: i64"
        FROM ledger_transactions t LEFT JOIN ledger_postings p ON p.transaction_id = t.id
        ORDER BY t.id, p.ledger_account_id"#
    )
    .fetch(connection)
    .peekable()
}

/// The next row, if it is one that is wanted.
async fn next_if<Row>(
    rows: &mut Rows<'_, Row>,
    is_wanted: impl Fn(&Row) -> bool,
) -> Result<Option<Row>, StoreError> {
    let next = std::pin::Pin::new(rows).next_if(|row| match row {
        Ok(row) => is_wanted(row),
        Err(_) => true,
    });
    next.await.transpose().map_err(failed)
}

async fn peek_transaction(postings: &mut Rows<'_, PostingRow>) -> Result<Option<i64>, StoreError> {
    match std::pin::Pin::new(&mut *postings).peek().await {
        None => return Ok(None),
        Some(Ok(row)) => return Ok(Some(row.transaction_id)),
        Some(Err(_)) => {}
    }
    postings
        .try_next()
        .await
        .map(|row| row.map(|row| row.transaction_id))
        .map_err(failed)
}

/// Terms are never changed, so they may be read as of any later moment.
async fn price_terms(store: &SqliteStore, id: i64) -> Result<PriceTerms, StoreError> {
    let text = sqlx::query_scalar!("SELECT terms FROM price_terms WHERE id = $1", id)
        .fetch_one(&store.readers)
        .await
        .map_err(failed)?;
    serde_json::from_str(&text).map_err(|_| Column::new("price_terms", "terms").corrupt(id))
}
