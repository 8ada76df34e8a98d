//! Clients as the operator sees and changes them. Every change writes an entry of the audit log in its own transaction.

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, Nanos, Timestamp, UserId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;
use crate::clients::{Balance, NewKey, NewPerson, RequestLimits};
use crate::error::StoreError;
use crate::ledger::Adjustment;

/// For so long the outcome of a booking with an idempotency key is kept, in seconds.
pub const BOOKING_KEPT_SECONDS: i64 = 24 * 3600;

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStatus {
    /// It may.
    Active,
    /// Its keys are refused, and its user can't log in.
    Disabled,
}

impl AccountStatus {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Disabled]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// What the operator sets of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// The price plan's name.
    pub plan: String,
    /// The tier whose monthly limit holds, if any.
    pub tier: Option<String>,
    /// How far below zero the balance may go.
    pub credit_line: Nanos,
    /// Limits by the minute and in parallel.
    pub limits: RequestLimits,
}

/// An account as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// The account.
    pub account: AccountId,
    /// `person` or `organization`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The login that owns it and its e-mail address; an organization has none.
    pub login: Option<(UserId, String)>,
    /// How it pays.
    pub payment: Payment,
    /// Whether it may be used.
    pub status: AccountStatus,
    /// What the operator set.
    pub settings: ClientSettings,
    /// What it has.
    pub balance: Balance,
    /// Since when there is the account.
    pub created_at: Timestamp,
}

/// Which accounts, and how many at most.
#[derive(Clone, Debug, Default)]
pub struct ClientQuery {
    /// Only those whose name or e-mail address has this in it, whatever its case.
    pub search: Option<String>,
    /// Only those after this one, in the order of their ids.
    pub after: Option<AccountId>,
    /// At most so many.
    pub limit: u16,
}

/// A request that is to be carried out once, however often it comes.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// Whose key it is.
    pub user: UserId,
    /// The key.
    pub key: String,
    /// SHA-256 of the request.
    pub request: [u8; 32],
}

/// A credit or debit with who, when and why.
#[derive(Clone, Debug)]
pub struct Booking {
    /// What is booked.
    pub adjustment: Adjustment,
    /// What the audit log says of it; the balance before and after is put in.
    pub audit: AuditEntry,
    /// Under which key it was asked for.
    pub idempotency: Option<IdempotencyKey>,
}

/// What was booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedAdjustment {
    /// The transaction of the ledger.
    pub transaction: i64,
    /// The balance after it.
    pub balance: Nanos,
}

/// What became of something that is booked once for an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booked<T = BookedAdjustment> {
    /// It was booked now, or before under the same key.
    Yes(T),
    /// The key was used for another request.
    OtherRequest,
    /// A request with this key runs at this moment.
    Running,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Yes,
    /// The account is not as it was expected to be: somebody else has changed it.
    Conflict,
    /// The credit line is used beyond the new one.
    CreditLineInUse,
}

/// Clients as the operator sees and changes them.
#[async_trait]
pub trait ClientAdmin: Send + Sync + 'static {
    /// Accounts in the order of their ids.
    async fn list_clients(&self, query: &ClientQuery) -> Result<Vec<ClientRecord>, StoreError>;

    /// One account.
    async fn client(&self, account: AccountId) -> Result<Option<ClientRecord>, StoreError>;

    /// Creates a person with an account. [`StoreError::Exists`] when the e-mail address is taken.
    async fn create_client(&self, person: &NewPerson, audit: &AuditEntry)
    -> Result<(), StoreError>;

    /// Creates a key that belongs to an account and spends from it, at the time of the entry.
    async fn create_client_key(
        &self,
        account: AccountId,
        key: &NewKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Books a credit or a debit, once for an idempotency key.
    async fn book(&self, booking: &Booking) -> Result<Booked, StoreError>;

    /// Disables or enables an account and its login; sessions of one that is disabled end. [`StoreError::NotFound`] when
    /// there is no such account, or its person was erased and it is to be enabled.
    async fn set_client_status(
        &self,
        account: AccountId,
        status: AccountStatus,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Changes what the operator set, if it still is as `expected`. [`StoreError::NotFound`] when there is no such account,
    /// plan or tier.
    async fn change_client(
        &self,
        account: AccountId,
        expected: &ClientSettings,
        settings: &ClientSettings,
        audit: &AuditEntry,
    ) -> Result<Changed, StoreError>;
}
