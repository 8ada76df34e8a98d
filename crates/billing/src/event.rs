//! Usage events: the immutable record of one request.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::discount::Discount;
use crate::ids::{AccountId, ApiKeyId, MasterAccountId, ModelPricingId, PlanVersionId, RequestId};
use crate::money::Nanos;
use crate::plan::PriceRule;
use crate::settlement::BudgetCharge;
use crate::time::Timestamp;
use crate::usage::{CostSource, Inference, TokenCounts};

/// Why an upstream's bill is not paid by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// A crash of ours cut the answer.
    Crash,
    /// The budgets did not cover the price.
    Uncollected,
    /// The upstream billed an attempt after which another one served, or none.
    FailedAttempt,
    /// What the upstream billed could not be found out; booked at 0, reconciliation finds the amount.
    Unknown,
}

impl LossReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::Crash,
        Self::Uncollected,
        Self::FailedAttempt,
        Self::Unknown,
    ];

    /// The name in the database, in metrics and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Uncollected => "uncollected",
            Self::FailedAttempt => "failed_attempt",
            Self::Unknown => "unknown",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// Who bears what a request cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client pays the price, as far as its budgets cover it.
    Charged,
    /// The client pays nothing; the cost is the operator's loss.
    Lost(LossReason),
}

/// How the answer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// As one body.
    Whole,
    /// As a stream of events.
    Streamed,
}

impl Delivery {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Streamed => "streamed",
        }
    }

    /// The delivery with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Whole, Self::Streamed]
            .into_iter()
            .find(|delivery| delivery.name() == name)
    }
}

/// How a request ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer came whole.
    Complete,
    /// The client went away first.
    ClientGone,
    /// The upstream broke off.
    UpstreamFailed,
    /// We broke off: a crash or a forced stop.
    Interrupted,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 4] = [
        Self::Complete,
        Self::ClientGone,
        Self::UpstreamFailed,
        Self::Interrupted,
    ];

    /// The name in the database, in metrics and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::UpstreamFailed => "upstream_failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// The ending with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.name() == name)
    }
}

/// What is known of a request from its admission on, and does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFacts {
    /// The request.
    pub id: RequestId,
    /// The client key that sent it.
    pub api_key: ApiKeyId,
    /// Who pays.
    pub payer: AccountId,
    /// How the payer pays.
    pub payment: Payment,
    /// The model as the client named it.
    pub requested_model: String,
    /// The version of the prices by which it was held; `None` for a router without a listed price.
    pub model_pricing: Option<ModelPricingId>,
    /// The version of the plan, frozen at admission.
    pub plan_version: PlanVersionId,
    /// The plan's rule for the model, frozen at admission.
    pub rule: PriceRule,
    /// The rules of models that it may fall back on, where they are others.
    #[serde(default)]
    pub fallback_rules: Vec<ModelRule>,
    /// What each model that may serve is called in the answer; empty where all have the upstream's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<ModelName>,
    /// How the answer is sent.
    pub delivery: Delivery,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// What was held of each money budget.
    pub hold: Nanos,
}

/// The rule that prices one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRule {
    /// The model, as the price book names it.
    pub model: String,
    /// The plan's rule for it.
    pub rule: PriceRule,
}

/// The name by which the client knows a model: an alias of the operator's, or its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelName {
    /// The model, as the price book names it.
    pub model: String,
    /// What the client calls it.
    pub name: String,
}

impl RequestFacts {
    /// What the client is told that served; `None` is the upstream's own name. Where the client used an alias and what
    /// served is none of the models that were asked for (a dated id), it is the first name that it used.
    pub fn shown_model(&self, served: Option<&str>) -> Option<&str> {
        let known = self
            .names
            .iter()
            .find(|known| Some(known.model.as_str()) == served);
        known
            .or(self.names.first())
            .map(|known| known.name.as_str())
    }

    /// The id under which the price book knows the first model, as far as names tell it.
    pub fn first_model(&self) -> &str {
        self.names
            .first()
            .map_or(self.requested_model.as_str(), |first| first.model.as_str())
    }

    /// The rule that prices the answer of `served`: a fallback's own, else the first model's.
    pub fn rule_for(&self, served: Option<&str>) -> &PriceRule {
        self.fallback_rules
            .iter()
            .find(|fallback| Some(fallback.model.as_str()) == served)
            .map_or(&self.rule, |fallback| &fallback.rule)
    }
}

/// How an account pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// From a balance.
    Prepaid,
    /// Later: what it spends is a receivable.
    Metered,
}

impl Payment {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepaid => "prepaid",
            Self::Metered => "metered",
        }
    }

    /// The mode with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Prepaid, Self::Metered]
            .into_iter()
            .find(|payment| payment.name() == name)
    }
}

/// Where a request was served, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The master account that was asked.
    pub master_account: MasterAccountId,
    /// Its discount, frozen at the attempt.
    pub discount: Discount,
    /// The upstream's id of the generation.
    pub generation_id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider that answered (a display name).
    pub provider: Option<String>,
}

/// The immutable record of one request: a row of `request_logs`. It stores what is needed to price it again, to the
/// same nano-dollar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEvent {
    /// What was known at admission.
    pub request: RequestFacts,
    /// Where it was served.
    pub served: Served,
    /// Tokens by kind.
    pub tokens: TokenCounts,
    /// What the upstream reported in USD, exactly; or tokens × price book where it reported nothing.
    pub reported_cost: Decimal,
    /// Where `reported_cost` came from.
    pub source: CostSource,
    /// How the inference was paid.
    pub inference: Inference,
    /// The list cost in USD: reported cost, and the provider's beside it when that was paid there.
    pub list_cost: Decimal,
    /// What it costs the operator.
    pub cost: Nanos,
    /// What the client is asked to pay; 0 when `outcome` is a loss.
    pub price: Nanos,
    /// Who bears it.
    pub outcome: Outcome,
    /// How it ended for the client.
    pub ending: Ending,
    /// When the meter was done.
    pub finished_at: Timestamp,
    /// Microseconds from admission to the first byte for the client, if any went out.
    pub first_byte_micros: Option<u64>,
    /// What it takes from each budget.
    pub charges: Vec<BudgetCharge>,
}

impl UsageEvent {
    /// The event as a loss of the operator: another request has been run in this one's stead, because its replica was
    /// taken for dead, and the client pays for one of them only.
    #[must_use]
    pub fn forfeit(mut self) -> Self {
        self.price = Nanos::ZERO;
        if self.outcome == Outcome::Charged {
            self.outcome = Outcome::Lost(LossReason::Crash);
        }
        self
    }
}

#[cfg(test)]
mod tests;
