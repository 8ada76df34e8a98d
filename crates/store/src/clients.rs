//! Accounts, people and their keys.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use airouter_auth::{AddressAccess, KeyHash};
use airouter_billing::event::Payment;
use airouter_billing::plan::SharedPlan;
use airouter_billing::{
    AccountId, ApiKeyId, BudgetRef, Nanos, Period, Quantity, Timestamp, UserId,
};
use async_trait::async_trait;

pub use airouter_billing::ModelAccess;

use crate::error::StoreError;

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may, until it expires.
    Granted,
    /// It was revoked.
    Revoked,
    /// The account, its payer or its owner was disabled.
    Disabled,
}

/// Limits by the minute and in parallel; `None` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLimits {
    /// Requests a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, of prompt and answer.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Requests at the same time.
    pub concurrent_requests: Option<NonZeroU32>,
}

/// All that a request needs to know of the key that sent it.
#[derive(Clone, Debug)]
pub struct KeySnapshot {
    /// The key.
    pub key: ApiKeyId,
    /// What its owner called it.
    pub name: String,
    /// How it may be shown: `sk-air-abc…xyz`.
    pub preview: String,
    /// The account that the key belongs to.
    pub account: AccountId,
    /// The account that pays: the key's own, or an organization.
    pub payer: AccountId,
    /// How the payer pays.
    pub payment: Payment,
    /// The payer's price plan.
    pub plan: SharedPlan,
    /// Every budget of the payer's chain: key, member, tier, balance.
    pub budgets: Arc<[BudgetRef]>,
    /// The key's own limits.
    pub key_limits: RequestLimits,
    /// The payer's limits.
    pub account_limits: RequestLimits,
    /// Which models it may use.
    pub models: ModelAccess,
    /// From which addresses.
    pub addresses: AddressAccess,
    /// Whether it may be used.
    pub access: Access,
    /// From when on it may not.
    pub expires_at: Option<Timestamp>,
}

/// A cap to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCap {
    /// What it caps.
    pub quantity: Quantity,
    /// How often it starts anew.
    pub period: Period,
    /// How much: nano-dollars or requests.
    pub cap: i64,
}

/// A client key to be stored; the key itself is not.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id.
    pub id: ApiKeyId,
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// How it may be shown.
    pub preview: String,
    /// What to call it.
    pub name: String,
    /// Limits of its own.
    pub limits: RequestLimits,
    /// Caps of its own.
    pub caps: Vec<NewCap>,
    /// Which models it may use.
    pub models: ModelAccess,
    /// From which addresses.
    pub addresses: AddressAccess,
    /// From when on it may not be used.
    pub expires_at: Option<Timestamp>,
}

/// Whether a login is the operator's or a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client.
    Client,
    /// The operator.
    Admin,
}

impl Role {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Admin => "admin",
        }
    }

    /// The role with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Client, Self::Admin]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// A person to be created: a login, an account that it owns, and what it may spend.
#[derive(Clone, Debug)]
pub struct NewPerson {
    /// The login's id.
    pub user: UserId,
    /// The account's id.
    pub account: AccountId,
    /// The e-mail address; compared without regard to case.
    pub email: String,
    /// The name to show.
    pub name: String,
    /// The password's hash (PHC text), if the person may log in with one.
    pub password_hash: Option<String>,
    /// What the login may do.
    pub role: Role,
    /// The language, `en`.
    pub locale: Option<String>,
    /// Where the person came from.
    pub utm_source: Option<String>,
    /// The address from which the person signed up.
    pub signup_address: Option<String>,
    /// How it pays.
    pub payment: Payment,
    /// The tier whose monthly limit holds, if any.
    pub tier: Option<String>,
    /// Caps on the account.
    pub caps: Vec<NewCap>,
    /// Limits of the account.
    pub limits: RequestLimits,
    /// When.
    pub at: Timestamp,
}

/// An organization to be created.
#[derive(Clone, Debug)]
pub struct NewOrganization {
    /// The account's id.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// The account above it, of a sub-reseller.
    pub parent: Option<AccountId>,
    /// How it pays.
    pub payment: Payment,
    /// The tier whose monthly limit holds, if any.
    pub tier: Option<String>,
    /// Caps on the account.
    pub caps: Vec<NewCap>,
    /// Limits of the account.
    pub limits: RequestLimits,
    /// When.
    pub at: Timestamp,
}

/// A person's membership in an organization.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// The organization.
    pub organization: AccountId,
    /// The person's account.
    pub person: AccountId,
    /// Whether the person runs the organization.
    pub role: MemberRole,
    /// Caps on what the member spends of the organization's money.
    pub caps: Vec<NewCap>,
    /// When.
    pub at: Timestamp,
}

/// What a member may do in an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// Runs it.
    Owner,
    /// Spends from it.
    Member,
}

/// A login and the account it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The login.
    pub user: UserId,
    /// The account.
    pub account: AccountId,
    /// The e-mail address.
    pub email: String,
    /// How the account pays.
    pub payment: Payment,
}

/// What changed, for caches: see [`Clients::changes_since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An account, its plan, its limits or its members.
    Account(AccountId),
    /// A client key.
    Key(ApiKeyId),
    /// A budget's cap or a balance grew or shrank.
    Budget(airouter_billing::BudgetId),
    /// Someone needs what leases of this budget do not use.
    Recall(airouter_billing::BudgetId),
    /// The master accounts.
    MasterAccounts,
    /// Plans, tiers or the price book.
    Prices,
}

/// A point in the change log, in the words of its adapter. The default is none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangePosition(Option<String>);

impl ChangePosition {
    /// The point that the adapter calls so.
    pub const fn new(text: String) -> Self {
        Self(Some(text))
    }

    /// What the adapter called it; `None` before the first call.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Changes after a point of the change log.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Where the next call continues.
    pub position: ChangePosition,
    /// What changed, oldest first.
    pub changes: Vec<Change>,
    /// There was more than a cache can follow: drop everything.
    pub overflow: bool,
}

/// How busy a pool of database connections is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open connections.
    pub open: usize,
    /// Those that nobody uses.
    pub idle: usize,
}

/// Accounts, people and keys.
#[async_trait]
pub trait Clients: Send + Sync + 'static {
    /// The connections for reading.
    fn connections(&self) -> Connections;

    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The key with this hash, in whatever state; `None` when there is none.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeySnapshot>, StoreError>;

    /// Notes when keys were last used.
    async fn keys_used(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError>;

    /// Changes after `position`; without one only the present position is told. Each is told once, however the
    /// transactions that made them overlapped. At most 1,000 are listed, beyond that `overflow` is set.
    async fn changes_since(&self, position: &ChangePosition) -> Result<Changes, StoreError>;

    /// Waits for a hint that something changed. There may never be one: the change log is the truth.
    async fn change_hint(&self);

    /// Creates a person. [`StoreError::Exists`] when the e-mail address is taken.
    async fn create_person(&self, person: &NewPerson) -> Result<(), StoreError>;

    /// The person with this e-mail address.
    async fn person_by_email(&self, email: &str) -> Result<Option<Person>, StoreError>;

    /// Creates an organization.
    async fn create_organization(&self, organization: &NewOrganization) -> Result<(), StoreError>;

    /// Makes a person a member of an organization.
    async fn add_member(&self, member: &NewMember) -> Result<(), StoreError>;

    /// Creates a key of `account`; with `payer` an organization, of which the account must be a member, pays for it.
    async fn create_key(
        &self,
        account: AccountId,
        payer: Option<AccountId>,
        key: &NewKey,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Revokes a key. [`StoreError::NotFound`] when there is none.
    async fn revoke_key(&self, key: ApiKeyId, at: Timestamp) -> Result<(), StoreError>;

    /// Whether there is an admin.
    async fn has_admin(&self) -> Result<bool, StoreError>;

    /// The balance of an account.
    async fn balance(&self, account: AccountId) -> Result<Balance, StoreError>;
}

/// A balance and what is reserved of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The balance.
    pub balance: Nanos,
    /// What leases have reserved of it.
    pub reserved: Nanos,
    /// How far below zero it may go.
    pub credit_line: Nanos,
    /// All that was ever charged.
    pub lifetime_spent: Nanos,
    /// All that was ever paid in, granted or given back.
    pub lifetime_earned: Nanos,
}
