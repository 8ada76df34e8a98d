//! What was used and what it came to, summed by time, model, key and account.
//!
//! A sum is made of what [`crate::rollups`] has summed up already and of the requests since, both as of one moment: it is
//! exact and up to date at all times. A request counts in the quarter of an hour in which it was finished; one that was
//! corrected counts as its correction says, and its loss not any more.

pub mod cover;
pub mod rows;

use airouter_billing::{AccountId, ApiKeyId, MasterAccountId, Nanos, Timestamp, TokenCounts};
use async_trait::async_trait;

use crate::error::StoreError;

/// No more periods are asked for at once: the days of a leap year, and some.
pub const MOST_PERIODS: usize = 400;

/// A quarter of an hour, from a full one in UTC on: what sums are made of. The days of every present time zone begin with
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuarterHour(i64);

impl QuarterHour {
    /// How long it is.
    pub const SECONDS: i64 = 900;
    const MICROS: i64 = Self::SECONDS * 1_000_000;

    /// The one that `at` is in.
    pub const fn containing(at: Timestamp) -> Self {
        Self(at.as_micros().div_euclid(Self::MICROS))
    }

    /// The one that begins at `at`, if one does.
    pub const fn beginning(at: Timestamp) -> Option<Self> {
        if at.as_micros().rem_euclid(Self::MICROS) == 0 {
            Some(Self::containing(at))
        } else {
            None
        }
    }

    /// Its first moment.
    pub const fn begins(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(Self::MICROS))
    }

    /// So many later, or earlier if below zero.
    #[must_use]
    pub const fn plus(self, quarters: i64) -> Self {
        Self(self.0.saturating_add(quarters))
    }
}

/// A time that is summed up: whole quarters of hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsagePeriod {
    /// The first one.
    pub from: QuarterHour,
    /// The first one after it; nothing is in a period that ends before it begins.
    pub to: QuarterHour,
}

/// What is summed, and how it may be divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// Requests that were served, whole or in part.
    pub requests: u64,
    /// Attempts that were billed and after which another one served, or none.
    pub failed_attempts: u64,
    /// Requests whose answers broke off: the upstream's fault, or ours.
    pub errors: u64,
    /// Requests whose clients left before the end.
    pub cancelled: u64,
    /// Tokens of these requests.
    pub tokens: TokenCounts,
    /// What the upstream's list prices come to, each request rounded.
    pub list_cost: Nanos,
    /// What serving the requests cost for which clients were asked to pay.
    pub cost: Nanos,
    /// What clients were asked to pay.
    pub price: Nanos,
    /// What they paid of it.
    pub charged: Nanos,
    /// What nobody paid for.
    pub losses: LossSums,
    /// Requests of which something reached the client.
    pub first_bytes: u64,
    /// Microseconds from their admission to the first byte, all together.
    pub first_byte_micros: u64,
    /// Microseconds from admission to the end of all requests together.
    pub duration_micros: u64,
}

/// Losses by reason, as the ledger's accounts have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossSums {
    /// [`airouter_billing::event::LossReason::Crash`].
    pub crash: Nanos,
    /// [`airouter_billing::event::LossReason::Uncollected`].
    pub uncollected: Nanos,
    /// [`airouter_billing::event::LossReason::FailedAttempt`].
    pub failed_attempt: Nanos,
    /// [`airouter_billing::event::LossReason::Unknown`].
    pub unknown: Nanos,
}

impl LossSums {
    /// All together.
    pub fn total(&self) -> Nanos {
        [
            self.crash,
            self.uncollected,
            self.failed_attempt,
            self.unknown,
        ]
        .into_iter()
        .fold(Nanos::ZERO, Nanos::saturating_add)
    }
}

impl UsageSums {
    /// What is left of the price: cost and losses are taken off.
    pub fn margin(&self) -> Nanos {
        let spent = self.cost.saturating_add(self.losses.total());
        self.price.saturating_sub(spent)
    }
}

/// A line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Which of the periods, counted from 0.
    pub period: usize,
    /// What it is about, as far as it is divided: a model, or the id of a key or an account.
    pub about: String,
    /// What that key or account is called.
    pub name: Option<String>,
    /// What it comes to.
    pub sums: UsageSums,
}

/// What the use of one account is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayerPart {
    /// Nothing: one line a period.
    Whole,
    /// Models, by the names that the client was told.
    Model,
    /// Keys.
    Key,
    /// Those to whom the keys belong: of an organization, its members, of now and before.
    Member,
}

impl PayerPart {
    /// The name by which queries know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Model => "model",
            Self::Key => "key",
            Self::Member => "member",
        }
    }
}

/// What the operator's sums are divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorPart {
    /// Nothing: one line a period.
    Whole,
    /// Models, as the upstream names them.
    Model,
    /// Master accounts.
    MasterAccount,
}

impl OperatorPart {
    /// The name by which queries know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Model => "model",
            Self::MasterAccount => "master_account",
        }
    }
}

/// Some of the lines, which are in the order of their periods, then of what was charged, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// So many are left out.
    pub skip: u32,
    /// At most so many.
    pub limit: u32,
}

impl Lines {
    /// As many as there can be without a division.
    pub const ALL: Self = Self {
        skip: 0,
        limit: 10_000,
    };
}

/// What one account has used.
#[derive(Clone, Debug)]
pub struct PayerQuery {
    /// Who paid.
    pub payer: AccountId,
    /// When; at most [`MOST_PERIODS`].
    pub periods: Vec<UsagePeriod>,
    /// Only by this key.
    pub key: Option<ApiKeyId>,
    /// Only with keys of this account.
    pub member: Option<AccountId>,
    /// Only of this model, as the client was told.
    pub model: Option<String>,
    /// What it is divided into. Parts that were not used are left out.
    pub by: PayerPart,
    /// Which lines.
    pub lines: Lines,
}

/// What the whole business came to.
#[derive(Clone, Debug)]
pub struct OperatorQuery {
    /// When; at most [`MOST_PERIODS`].
    pub periods: Vec<UsagePeriod>,
    /// Only of this model, as the upstream names it.
    pub model: Option<String>,
    /// Only at this master account.
    pub master_account: Option<MasterAccountId>,
    /// What it is divided into. Parts that were not used are left out.
    pub by: OperatorPart,
    /// Which lines.
    pub lines: Lines,
}

impl OperatorQuery {
    /// Whether it is about everything, undivided.
    pub const fn is_of_all(&self) -> bool {
        matches!(self.by, OperatorPart::Whole)
            && self.model.is_none()
            && self.master_account.is_none()
    }
}

/// Sums of what was used.
#[async_trait]
pub trait Usage: Send + Sync + 'static {
    /// What one account has used. Periods in which nothing was used have no line.
    async fn payer_usage(&self, query: &PayerQuery) -> Result<Vec<UsageRow>, StoreError>;

    /// What the whole business came to. Periods in which nothing happened have no line.
    async fn operator_usage(&self, query: &OperatorQuery) -> Result<Vec<UsageRow>, StoreError>;

    /// What each account has used in a period.
    async fn usage_by_client(
        &self,
        period: UsagePeriod,
        lines: Lines,
    ) -> Result<Vec<UsageRow>, StoreError>;

    /// Whether `payer` pays, or has paid, for the key.
    async fn is_key_of_payer(&self, payer: AccountId, key: ApiKeyId) -> Result<bool, StoreError>;
}
