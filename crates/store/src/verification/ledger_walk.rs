//! The ledger's transactions and the usage events in step: both are in the order in which they were written, so a
//! transaction's events are a run. What is out of order (somebody wrote by hand) is matched at the end.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use airouter_billing::posting::{Posting, Transaction};
use airouter_billing::{MasterAccountId, Nanos, UsageEvent};
use futures_util::stream::{BoxStream, Peekable, StreamExt as _, TryStreamExt as _};

use super::corrections::{check_correction, corrected_loss, name};
use super::event_prices::bookable;
use super::event_rows::{self, EventRow};
use super::findings::Findings;
use super::refunds::{Refunded, check_refund, refund_of};
use super::rows::{CorrectionRow, FindingRow, LedgerAccountRow, PostingRow, RefundRow};
use super::sums::{LedgerAccountKey, Totals};
use super::{Ledger, SharedTexts};
use crate::error::StoreError;
use crate::ledger::Check;
use crate::shared_texts::PriceTerms;

/// So many transactions that don't match their events are kept for the end; the others are only counted.
const MOST_DIFFERENCES: usize = 100_000;

type Postings<'a> = Peekable<BoxStream<'a, Result<PostingRow, StoreError>>>;

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
pub(super) struct LedgerWalk {
    totals: Totals,
    terms: HashMap<i64, (PriceTerms, UsageEvent)>,
    differences: BTreeMap<i64, Difference>,
}

impl LedgerWalk {
    pub(super) fn new(accounts: Vec<LedgerAccountRow>) -> Self {
        Self {
            totals: Totals::new(accounts),
            terms: HashMap::new(),
            differences: BTreeMap::new(),
        }
    }

    /// Reads everything once.
    pub(super) async fn run(
        &mut self,
        mut pages: BoxStream<'_, Result<String, StoreError>>,
        postings: BoxStream<'_, Result<PostingRow, StoreError>>,
        texts: &dyn SharedTexts,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let mut postings = postings.peekable();
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
                self.book(&row, &mut run.booked, texts, findings).await?;
            }
        }
        self.close(run, &mut postings, findings).await?;
        self.read_transactions_before(&mut postings, i64::MAX, findings)
            .await
    }

    /// Prices corrections again and books them: what they come to is matched with their transactions in the walk.
    pub(super) async fn correct(
        &mut self,
        corrections: &[CorrectionRow],
        texts: &dyn SharedTexts,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        for correction in corrections {
            let row = event_rows::row(&correction.event, "request_corrections")?;
            findings.compare(
                Check::Correction,
                || format!("request {}, corrected twice", name(&row)),
                1,
                if seen.insert(row.row) { 1 } else { 2 },
            );
            self.totals.add_correction(&row);
            let mut booked = Transaction::default();
            if let Some(loss) = &correction.corrected {
                let loss = event_rows::row(loss, "request_logs")?;
                let (terms, _) = self.terms(loss.price_terms_id, texts).await?;
                if let Some(loss) = corrected_loss(&loss, terms) {
                    booked.reverse(&loss);
                }
            }
            check_correction(correction, &row, findings)?;
            self.book_priced(&row, &mut booked, texts, findings).await?;
            let postings = booked.into_postings().map_err(|_| StoreError::OutOfRange)?;
            let difference = self.differences.entry(row.transaction_id).or_default();
            difference.booked(&postings);
        }
        Ok(())
    }

    /// Books refunds: what they come to is matched with their transactions in the walk.
    pub(super) async fn refund(
        &mut self,
        refunds: &[RefundRow],
        texts: &dyn SharedTexts,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let mut refunded = Refunded::default();
        for row in refunds {
            let charge = row.charge.as_deref();
            let charge = charge.map(|charge| event_rows::row(charge, "request_logs"));
            let charge = charge.transpose()?;
            check_refund(row, charge.as_ref(), findings);
            let Some(charge) = charge else { continue };
            refunded.add(row, &charge);
            let (terms, _) = self.terms(charge.price_terms_id, texts).await?;
            let mut booked = Transaction::default();
            booked.refund(&refund_of(row, &charge, terms));
            let postings = booked.into_postings().map_err(|_| StoreError::OutOfRange)?;
            let difference = self.differences.entry(row.transaction_id).or_default();
            difference.booked(&postings);
        }
        refunded.check(findings);
        Ok(())
    }

    /// Books what reconciliation has found: that is matched with its transactions in the walk.
    pub(super) fn reconcile(&mut self, posted: &[FindingRow]) -> Result<(), StoreError> {
        for row in posted {
            let mut booked = Transaction::default();
            let account = MasterAccountId::new(row.master_account);
            booked.reconcile(account, Nanos::new(row.cost_nanos));
            let postings = booked.into_postings().map_err(|_| StoreError::OutOfRange)?;
            let difference = self.differences.entry(row.transaction_id).or_default();
            difference.booked(&postings);
        }
        Ok(())
    }

    /// What was out of order has been matched by now: what still differs is wrong.
    pub(super) async fn finish(
        self,
        ledger: &mut dyn Ledger,
        findings: &mut Findings,
    ) -> Result<Totals, StoreError> {
        let mut totals = self.totals;
        for (transaction, difference) in self.differences {
            if !difference.exists {
                let exists = ledger.has_transaction(transaction).await?;
                let subject = || format!("the events of transaction {transaction}");
                findings.compare(Check::Orphan, subject, 1, exists.into());
            }
            for (account, (booked, posted)) in difference.sums {
                let subject = || format!("transaction {transaction}, {account}");
                findings.compare(Check::EventsPosted, subject, booked, posted);
            }
        }
        totals.add_orphans(ledger.orphan_postings().await?, findings);
        Ok(totals)
    }

    /// A run of events of one transaction has ended: they are what the transaction posts.
    async fn close(
        &mut self,
        run: Option<Run>,
        postings: &mut Postings<'_>,
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
        texts: &dyn SharedTexts,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        self.totals.add_event(row);
        self.book_priced(row, booked, texts, findings).await
    }

    /// The terms of a row's price, with an event of these terms to be booked.
    async fn terms(
        &mut self,
        id: i64,
        texts: &dyn SharedTexts,
    ) -> Result<&mut (PriceTerms, UsageEvent), StoreError> {
        match self.terms.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let terms = price_terms(texts, id).await?;
                let event = bookable(&terms);
                Ok(unknown.insert((terms, event)))
            }
        }
    }

    async fn book_priced(
        &mut self,
        row: &EventRow<'_>,
        booked: &mut Transaction,
        texts: &dyn SharedTexts,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let (terms, event) = self.terms(row.price_terms_id, texts).await?;
        row.check_price(terms, findings);
        row.fill(event).ok_or_else(|| StoreError::Corrupt {
            table: "request_logs",
            column: "loss_reason",
            row: row.row.to_owned(),
        })?;
        booked.book(event, row.covered());
        Ok(())
    }

    async fn read_transactions_before(
        &mut self,
        postings: &mut Postings<'_>,
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

    /// Reads one transaction, if it is the next: its sums are added to the totals. `None` when it is not the next. An
    /// adjustment has no events to differ from, unless reconciliation made it, or it is a refund.
    async fn read_transaction(
        &mut self,
        postings: &mut Postings<'_>,
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
        let (mut sum, mut posted) = (0, Vec::new());
        let mut is_compared = false;
        while let Some(row) = next_of(postings, transaction).await? {
            let (Some(account), Some(amount)) = (row.ledger_account_id, row.amount_nanos) else {
                continue;
            };
            sum += i128::from(amount);
            let is_usage = row.kind == "usage";
            let key = self.totals.add_posting(account, amount, is_usage);
            is_compared |= is_usage || key.is_of_reconciliation() || key.is_revenue();
            posted.push((key, amount));
        }
        for (key, amount) in posted.into_iter().filter(|_| is_compared) {
            difference.sums.entry(key).or_default().1 += i128::from(amount);
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

/// The next posting, if it is of this transaction.
async fn next_of(
    postings: &mut Postings<'_>,
    transaction: i64,
) -> Result<Option<PostingRow>, StoreError> {
    let next = std::pin::Pin::new(postings).next_if(|row| match row {
        Ok(row) => row.transaction_id == transaction,
        Err(_) => true,
    });
    next.await.transpose()
}

async fn peek_transaction(postings: &mut Postings<'_>) -> Result<Option<i64>, StoreError> {
    match std::pin::Pin::new(&mut *postings).peek().await {
        None => return Ok(None),
        Some(Ok(row)) => return Ok(Some(row.transaction_id)),
        Some(Err(_)) => {}
    }
    postings
        .try_next()
        .await
        .map(|row| row.map(|row| row.transaction_id))
}

async fn price_terms(texts: &dyn SharedTexts, id: i64) -> Result<PriceTerms, StoreError> {
    let text = texts.price_terms(id).await?;
    serde_json::from_str(&text).map_err(|_| StoreError::Corrupt {
        table: "price_terms",
        column: "terms",
        row: id.to_string(),
    })
}
