//! The proof that everything adds up: one pass over the ledger's transactions in step with the usage events that they
//! book, each priced again, then the sums. An adapter reads the rows, all as of one moment; what they must come to is
//! decided here.

mod corrections;
mod event_prices;
mod event_rows;
mod findings;
mod ledger_walk;
mod refunds;
pub mod rows;
mod sums;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use self::findings::Findings;
use self::ledger_walk::LedgerWalk;
use self::rows::{
    BalanceRow, CorrectionRow, FindingRow, LedgerAccountRow, OrphanRow, PeriodRow, PostingRow,
    RefundRow, RefusedRow, ReservedRow,
};
use crate::error::StoreError;
use crate::ledger::Verification;

/// Texts that are never changed: they may be read as of any later moment.
#[async_trait]
pub trait SharedTexts: Send + Sync {
    /// The text of these `price_terms`.
    async fn price_terms(&self, id: i64) -> Result<String, StoreError>;

    /// The text of this one of the `budget_sets`.
    async fn budget_set(&self, id: i64) -> Result<String, StoreError>;
}

/// The rows that are compared with the sums, as of the moment at which events and postings were read.
#[async_trait]
pub trait Ledger: Send {
    /// Whether there is a transaction with this number.
    async fn has_transaction(&mut self, transaction: i64) -> Result<bool, StoreError>;

    /// Postings of transactions that do not exist.
    async fn orphan_postings(&mut self) -> Result<Vec<OrphanRow>, StoreError>;

    /// All balances.
    async fn balances(&mut self) -> Result<Vec<BalanceRow>, StoreError>;

    /// Budgets of which another amount is reserved than their leases have.
    async fn wrong_reservations(&mut self) -> Result<Vec<ReservedRow>, StoreError>;

    /// All periods of caps.
    async fn periods(&mut self) -> Result<Vec<PeriodRow>, StoreError>;

    /// Events that were set aside.
    async fn refused(&mut self) -> Result<Vec<RefusedRow>, StoreError>;

    /// What the usage event in this row is called in reports.
    async fn name_event(&mut self, row: &str) -> Result<String, StoreError>;
}

/// A verification under way.
pub struct Proof<'a> {
    texts: &'a dyn SharedTexts,
    walk: LedgerWalk,
    findings: Findings,
}

impl<'a> Proof<'a> {
    /// Begins with all accounts of the ledger.
    pub fn new(accounts: Vec<LedgerAccountRow>, texts: &'a dyn SharedTexts) -> Self {
        Self {
            texts,
            walk: LedgerWalk::new(accounts),
            findings: Findings::default(),
        }
    }

    /// Reads all corrections, before the walk. They are few.
    pub async fn correct(&mut self, corrections: &[CorrectionRow]) -> Result<(), StoreError> {
        let findings = &mut self.findings;
        self.walk.correct(corrections, self.texts, findings).await
    }

    /// Reads all refunds, before the walk. They are few.
    pub async fn refund(&mut self, refunds: &[RefundRow]) -> Result<(), StoreError> {
        let findings = &mut self.findings;
        self.walk.refund(refunds, self.texts, findings).await
    }

    /// Reads what reconciliation has posted, before the walk. It is little.
    pub fn reconcile(&mut self, posted: &[FindingRow]) -> Result<(), StoreError> {
        self.walk.reconcile(posted)
    }

    /// Reads everything once: usage events, many in a text (see the module `event_rows` for the form of it), and all
    /// transactions of the ledger with their postings; both by the number of the transaction.
    pub async fn walk(
        &mut self,
        events: BoxStream<'_, Result<String, StoreError>>,
        postings: BoxStream<'_, Result<PostingRow, StoreError>>,
    ) -> Result<(), StoreError> {
        let findings = &mut self.findings;
        self.walk.run(events, postings, self.texts, findings).await
    }

    /// Compares the sums.
    pub async fn finish(mut self, ledger: &mut dyn Ledger) -> Result<Verification, StoreError> {
        let findings = &mut self.findings;
        let totals = self.walk.finish(ledger, findings).await?;
        sums::check(ledger, self.texts, &totals, findings).await?;
        for subject in findings.unnamed() {
            *subject = ledger.name_event(subject).await?;
        }
        Ok(Verification {
            events: totals.events,
            corrections: totals.corrections,
            transactions: totals.transactions,
            findings: self.findings.listed,
            more_findings: self.findings.more,
        })
    }
}
