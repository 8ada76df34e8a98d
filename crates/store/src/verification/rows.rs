//! What a verification reads, row by row.

use airouter_billing::Timestamp;
use airouter_billing::budget::BudgetSlot;
use uuid::Uuid;

/// An account of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerAccountRow {
    /// Its number.
    pub id: i64,
    /// Its kind.
    pub kind: String,
    /// Whose it is; `None` of the operator's own.
    pub owner: Option<Uuid>,
    /// Its balance.
    pub balance_nanos: i64,
}

/// A posting with its transaction, or a transaction without postings.
#[derive(Clone, Debug)]
pub struct PostingRow {
    /// The transaction.
    pub transaction_id: i64,
    /// Why there is one: `usage` or `adjustment`.
    pub kind: String,
    /// The account of the ledger.
    pub ledger_account_id: Option<i64>,
    /// The amount.
    pub amount_nanos: Option<i64>,
}

/// An entry of the list of findings for which something was posted.
#[derive(Clone, Copy, Debug)]
pub struct FindingRow {
    /// The transaction.
    pub transaction_id: i64,
    /// At which master account.
    pub master_account: Uuid,
    /// What is posted.
    pub cost_nanos: i64,
}

/// A correction, with what it corrects.
#[derive(Clone, Debug)]
pub struct CorrectionRow {
    /// The transaction that its own transaction names.
    pub corrects: Option<i64>,
    /// The correction in the form of a usage event (see the module `event_rows`), known by the id of its request.
    pub event: String,
    /// The usage event of the same id in that form, if there is one.
    pub corrected: Option<String>,
}

/// A refund, with what it gives back.
#[derive(Clone, Debug)]
pub struct RefundRow {
    /// Its transaction.
    pub transaction_id: i64,
    /// The transaction that its own transaction names.
    pub corrects: Option<i64>,
    /// The request.
    pub request: Uuid,
    /// How much.
    pub amount_nanos: i64,
    /// What of it paid what the account owed.
    pub debt_paid_nanos: i64,
    /// The usage event, or its correction, in that form, if there is one.
    pub charge: Option<String>,
}

/// A posting whose transaction does not exist.
#[derive(Clone, Copy, Debug)]
pub struct OrphanRow {
    /// The transaction that does not exist.
    pub transaction_id: i64,
    /// The account of the ledger.
    pub ledger_account_id: i64,
    /// The amount.
    pub amount_nanos: i64,
}

/// The balance of a client.
#[derive(Clone, Copy, Debug)]
pub struct BalanceRow {
    /// The account.
    pub account: Uuid,
    /// What it has.
    pub balance_nanos: i64,
    /// What it ever spent.
    pub lifetime_spent_nanos: i64,
    /// What it was ever credited.
    pub lifetime_earned_nanos: i64,
}

/// A budget of which another amount is reserved than its leases have.
#[derive(Clone, Copy, Debug)]
pub struct ReservedRow {
    /// The budget.
    pub slot: BudgetSlot,
    /// What is reserved.
    pub reserved: i64,
    /// The sum of the leases.
    pub leased: i64,
}

/// A period of a cap.
#[derive(Clone, Debug)]
pub struct PeriodRow {
    /// The budget.
    pub budget: Uuid,
    /// When the period began.
    pub period_start: Timestamp,
    /// What is spent in it.
    pub spent: i64,
    /// What kind of owner the budget has, and which; `None` when the budget does not exist.
    pub owner: Option<(String, Uuid)>,
}

/// An event that the database refused.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRow {
    /// The request.
    pub request: Uuid,
    /// What serving it cost.
    pub cost_nanos: i64,
}
