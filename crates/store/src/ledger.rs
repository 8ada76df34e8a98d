//! The ledger: corrections by the operator, and the proof that everything adds up.

use airouter_billing::{AccountId, BudgetId, Nanos, RequestId, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clients::Balance;
use crate::error::StoreError;

/// A credit (positive) or debit (negative) of a prepaid account.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// The account.
    pub account: AccountId,
    /// How much.
    pub amount: Nanos,
    /// Why.
    pub reason: String,
    /// Who: a login's e-mail address, or `command line`.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule is broken.
    pub check: Check,
    /// Where: an account, a transaction, a request, by its id.
    pub subject: String,
    /// What it should be.
    pub expected: i128,
    /// What it is.
    pub found: i128,
}

/// What `ledger verify` checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// The postings of a transaction sum to zero.
    TransactionBalances,
    /// A ledger account's balance is the sum of its postings.
    AccountBalance,
    /// A client's balance is what its ledger account says.
    ClientBalance,
    /// A client's lifetime spent and earned are what its postings say.
    Lifetime,
    /// The usage events of a transaction, what reconciliation has found, or a refund, are what it posts.
    EventsPosted,
    /// A usage event, priced again from what it stores, comes to the same nano-dollar.
    EventPriced,
    /// What is reserved of a budget is the sum of its leases.
    Reserved,
    /// What is spent of a budget is the sum of what its usage events charged.
    BudgetSpent,
    /// Every posting and event belongs to a transaction that exists.
    Orphan,
    /// No usage event was refused by the database and waits to be booked by hand.
    Refused,
    /// A correction is a charge in place of a loss of the entry that it names, once.
    Correction,
    /// A refund gives back a charge of the entry that it names, and all of them no more than was charged.
    Refund,
}

impl Check {
    /// What the check is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TransactionBalances => "transaction_balances",
            Self::AccountBalance => "account_balance",
            Self::ClientBalance => "client_balance",
            Self::Lifetime => "lifetime",
            Self::EventsPosted => "events_posted",
            Self::EventPriced => "event_priced",
            Self::Reserved => "reserved",
            Self::BudgetSpent => "budget_spent",
            Self::Orphan => "orphan",
            Self::Refused => "refused",
            Self::Correction => "correction",
            Self::Refund => "refund",
        }
    }
}

/// What a verification saw.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Usage events that were priced again.
    pub events: u64,
    /// Corrections of usage events; those were priced again too.
    pub corrections: u64,
    /// Ledger transactions that were summed.
    pub transactions: u64,
    /// What does not add up, at most 1,000.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: u64,
}

/// A ledger transaction, and what tells it from another one that got the same number in another state of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionMark {
    /// Its number.
    pub number: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The sum of its debits.
    pub debits: Nanos,
}

/// Which database it is, and how far its ledger has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPosition {
    /// The database's identity, the same in every copy of it.
    pub database: Uuid,
    /// The visible transaction with the highest number. Others with lower numbers may still be under way.
    pub newest: Option<TransactionMark>,
}

/// What is known to have been durable, and is asked for again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The number of a ledger transaction.
    pub transaction: Option<i64>,
    /// Requests that were settled.
    pub requests: Vec<RequestId>,
}

/// What a database has, in one consistent view, of what is known to have been durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLook {
    /// Which database it is, and how far it has come.
    pub position: LedgerPosition,
    /// The transaction with the number that was asked for.
    pub transaction: Option<TransactionMark>,
    /// How many of the requests that were asked for are not there.
    pub missing_requests: u64,
}

/// The ledger.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Books a credit or a debit ([`airouter_billing::posting::adjustment`]).
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Balance, StoreError>;

    /// Asks every replica to give back what its leases of this budget do not use.
    async fn recall(&self, budget: BudgetId) -> Result<(), StoreError>;

    /// Which database this is, how far it has come, and what it has of that which was `durable`. Nothing that was seen
    /// here, or whose commit returned, is ever missing from the same database in a later state.
    async fn look(&self, durable: &Durable) -> Result<LedgerLook, StoreError>;

    /// Drops what is kept in memory of rows that were read: this is an older state of the database, or another one, and
    /// the same numbers may mean something else there.
    fn forget_what_was_read(&self);

    /// Proves on a live database, in one consistent view, that everything adds up.
    async fn verify(&self) -> Result<Verification, StoreError>;
}
