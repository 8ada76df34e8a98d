//! Master accounts: the operator's accounts at upstreams.

use airouter_auth::SealedSecret;
use airouter_billing::{Discount, MasterAccountId, Nanos, Timestamp};
use async_trait::async_trait;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{AuditEntry, told_time};
use crate::error::StoreError;
use crate::seen::Seen;

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamKind {
    /// OpenRouter's API, with its account API beside.
    #[default]
    OpenRouter,
    /// OpenAI's chat completions and nothing else: it reports tokens and no cost, and is priced by a table of its own.
    Compatible,
}

impl UpstreamKind {
    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenRouter => "openrouter",
            Self::Compatible => "compatible",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::OpenRouter, Self::Compatible]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Whether a master account serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterAccountStatus {
    /// It does.
    Active,
    /// It takes no new request unless nothing else is left; what runs goes on.
    Draining,
    /// It takes no new request; what runs goes on.
    Paused,
}

impl MasterAccountStatus {
    /// The name for people and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Paused => "paused",
        }
    }

    /// As two columns: `status`, and `drains`.
    pub const fn columns(self) -> (&'static str, bool) {
        match self {
            Self::Active => ("active", false),
            Self::Draining => ("paused", true),
            Self::Paused => ("paused", false),
        }
    }

    /// From the two columns.
    pub fn from_columns(status: &str, drains: bool) -> Option<Self> {
        [Self::Active, Self::Draining, Self::Paused]
            .into_iter()
            .find(|known| known.columns() == (status, drains))
    }
}

/// Its part of the load among accounts that cost the same: 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// A part like every other's.
    pub const ONE: Self = Self(1);

    /// This weight, if it is one.
    pub fn new(weight: i64) -> Option<Self> {
        let weight = u16::try_from(weight).ok()?;
        (1..=1_000).contains(&weight).then_some(Self(weight))
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The concentration limit: no more than so many percent of the traffic on one account, 1 to 99.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MostShare(u8);

impl MostShare {
    /// So many percent, if that is a limit.
    pub fn percent(percent: i64) -> Option<Self> {
        let percent = u8::try_from(percent).ok()?;
        (1..=99).contains(&percent).then_some(Self(percent))
    }

    /// In percent.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What the operator may resell on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Where it is to be found: a number, a name.
    pub reference: Option<String>,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
}

/// A key, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    /// The sealed key.
    pub sealed: SealedSecret,
    /// SHA-256 of the key in hex, to recognize it.
    pub fingerprint: String,
}

/// In place of a fingerprint, before the account's id, at an upstream that wants no key.
pub const NO_KEY: &str = "no key";

impl SealedKey {
    /// Enough of the fingerprint to name the key.
    pub fn short_fingerprint(&self) -> &str {
        if self.fingerprint.starts_with(NO_KEY) {
            return NO_KEY;
        }
        self.fingerprint.get(..12).unwrap_or(&self.fingerprint)
    }
}

/// An inference key of a master account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterAccountKey {
    /// Its id; also the row that the sealed key is bound to. The first key of an account has the account's id, and is
    /// bound to that row of `master_accounts`.
    pub id: Uuid,
    /// The key.
    pub key: SealedKey,
}

/// What an upstream said of an account's credit, in its own dollars: list costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditReading {
    /// What was ever bought.
    pub bought: Nanos,
    /// What was ever used.
    pub used: Nanos,
    /// What is used in a day at the present pace; `None` until there are two readings.
    pub pace: Option<Nanos>,
    /// When it was said.
    pub seen_at: Timestamp,
}

impl CreditReading {
    /// What is left; below zero where more was used than bought.
    pub fn left(&self) -> Nanos {
        self.bought.saturating_sub(self.used)
    }

    /// Whole days that what is left lasts at the present pace; `None` where nothing is used.
    pub fn days_left(&self) -> Option<i64> {
        let pace = self.pace?.get();
        (pace > 0).then(|| self.left().get().max(0) / pace)
    }
}

/// A master account.
#[derive(Clone, Debug)]
pub struct MasterAccount {
    /// Its id; also the row that its sealed keys are bound to.
    pub id: MasterAccountId,
    /// What the operator calls it; the label in metrics.
    pub name: String,
    /// What its upstream speaks.
    pub kind: UpstreamKind,
    /// The upstream's address, up to `/api/v1` (a compatible server's: up to `/v1`).
    pub base_url: String,
    /// Its inference keys, in the order in which they were added. Without one it can't serve.
    pub keys: Vec<MasterAccountKey>,
    /// Its management key, with which its credit is followed.
    pub management_key: Option<SealedKey>,
    /// The discount.
    pub discount: Discount,
    /// Its part of the load.
    pub weight: Weight,
    /// The concentration limit, if there is one.
    pub most_share: Option<MostShare>,
    /// What the operator may resell on.
    pub agreement: Agreement,
    /// Whether it serves.
    pub status: MasterAccountStatus,
    /// What the upstream last said of its credit.
    pub credit: Option<CreditReading>,
}

impl MasterAccount {
    /// What the operator set of it, for the audit log and to see whether it was changed. Keys by their fingerprints.
    pub fn described(&self) -> Value {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| key.key.short_fingerprint())
            .collect();
        let management = self.management_key.as_ref();
        let percent = self.discount.fraction() * Decimal::ONE_HUNDRED;
        json!({
            "name": self.name,
            "kind": self.kind.name(),
            "base_url": self.base_url,
            "keys": keys,
            "management_key": management.map(SealedKey::short_fingerprint),
            "discount_percent": percent.normalize().to_string(),
            "discount_basis": self.discount.basis().name(),
            "weight": self.weight.get(),
            "most_share_percent": self.most_share.map(MostShare::get),
            "agreement": self.agreement.reference,
            "agreement_ends_at": self.agreement.ends_at.and_then(told_time),
            "status": self.status.name(),
        })
    }

    /// Whether this key is all that it serves with.
    pub fn needs_key(&self, key: Uuid) -> bool {
        let serves = self.status != MasterAccountStatus::Paused;
        serves && self.keys.len() == 1 && self.keys.iter().any(|own| own.id == key)
    }

    /// Makes a change, for an adapter that writes all of it.
    pub fn apply(&mut self, change: &MasterAccountChange) {
        match change {
            MasterAccountChange::Name(name) => self.name.clone_from(name),
            MasterAccountChange::BaseUrl(base_url) => self.base_url.clone_from(base_url),
            MasterAccountChange::Discount(discount) => self.discount = *discount,
            MasterAccountChange::Weight(weight) => self.weight = *weight,
            MasterAccountChange::MostShare(most_share) => self.most_share = *most_share,
            MasterAccountChange::Agreement(agreement) => self.agreement.clone_from(agreement),
            MasterAccountChange::Status(status) => self.status = *status,
            MasterAccountChange::ManagementKey(key) => self.management_key.clone_from(key),
        }
    }
}

/// The error that an account has this name already.
pub const NAME_TAKEN: StoreError = StoreError::Exists {
    what: "a master account of this name",
};
/// The error that an account would serve without a key.
pub const LAST_KEY: StoreError = StoreError::InUse {
    what: "the last key",
};

/// A master account to be added, active, with its first key.
#[derive(Clone, Debug)]
pub struct NewMasterAccount {
    /// Its id, and that of its first key.
    pub id: MasterAccountId,
    /// Its name.
    pub name: String,
    /// What its upstream speaks.
    pub kind: UpstreamKind,
    /// The upstream's address, up to `/api/v1` (a compatible server's: up to `/v1`).
    pub base_url: String,
    /// The first inference key, bound to the row of the account.
    pub key: SealedKey,
    /// The discount.
    pub discount: Discount,
}

/// What may be changed of a master account. Usage events keep the discount that they were priced by.
#[derive(Clone, Debug)]
pub enum MasterAccountChange {
    /// Its name.
    Name(String),
    /// The upstream's address.
    BaseUrl(String),
    /// The discount, from now on.
    Discount(Discount),
    /// Its part of the load.
    Weight(Weight),
    /// The concentration limit.
    MostShare(Option<MostShare>),
    /// The agreement.
    Agreement(Agreement),
    /// Whether it serves.
    Status(MasterAccountStatus),
    /// The management key.
    ManagementKey(Option<SealedKey>),
}

/// Master accounts. Whatever changes is told in the change log, but for what upstreams say of credit; every change writes its
/// entry of the audit log in its own transaction, with what it was and what it is.
#[async_trait]
pub trait MasterAccounts: Send + Sync + 'static {
    /// Adds one, at the time of the entry. [`StoreError::Exists`] when its key is known already, of whichever account, or
    /// another one has its name; of two that come at once, too.
    async fn add_master_account(
        &self,
        account: &NewMasterAccount,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// All, in the order in which they were added.
    async fn master_accounts(&self) -> Result<Vec<MasterAccount>, StoreError>;

    /// Makes all of these changes or none, to what was [`described`](MasterAccount::described) so. [`StoreError::NotFound`]
    /// when there is no such account, [`StoreError::ChangedMeanwhile`] when it is another one now, [`StoreError::Exists`] when
    /// another account has its new name.
    async fn change_master_account(
        &self,
        account: MasterAccountId,
        seen: &Seen,
        changes: &[MasterAccountChange],
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Adds a key, at the time of the entry. [`StoreError::Exists`] when it is known already, [`StoreError::NotFound`] when
    /// there is no such account.
    async fn add_master_account_key(
        &self,
        account: MasterAccountId,
        key: &MasterAccountKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Removes a key of an account. [`StoreError::NotFound`] when it has no such key, [`StoreError::InUse`] when it is the last
    /// one of an account that serves; of two that are removed at once, too.
    async fn remove_master_account_key(
        &self,
        account: MasterAccountId,
        key: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Keeps what the upstream says of an account's credit, unless something later is known.
    async fn record_credit(
        &self,
        account: MasterAccountId,
        reading: &CreditReading,
    ) -> Result<(), StoreError>;
}
