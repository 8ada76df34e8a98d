//! Price plans: what the client pays for a list cost.

use std::collections::HashMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ids::PlanVersionId;
use crate::money::Nanos;

/// How a price is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum PriceRule {
    /// List cost × `factor` (0.8 is 80 %).
    PercentOfList {
        /// The client factor.
        factor: Decimal,
    },
    /// Cost × (1 + `markup`).
    MarkupOnCost {
        /// The markup (0.25 is 25 %).
        markup: Decimal,
    },
    /// Tokens × prices of the operator's own, in USD per token.
    OwnPrices {
        /// For a prompt token.
        prompt: Decimal,
        /// For a token of the answer.
        completion: Decimal,
        /// For a request.
        request: Decimal,
    },
}

/// What a plan allows and how it bounds what has no price in advance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPolicy {
    /// What a router (`-1`), a plugin, a server tool, a service tier or a web search is held at, each.
    pub cost_raising_cap: Nanos,
    /// What an image, audio or file that is only linked to, and so of unknown size, is held at.
    pub media_cap: Nanos,
    /// Highest price that the upstream may choose, as a multiple of the price book.
    pub max_price_tolerance: Decimal,
}

impl Default for PlanPolicy {
    /// $0.50 for what has no price, $0.05 a linked medium, a quarter above the book.
    fn default() -> Self {
        Self {
            cost_raising_cap: Nanos::new(500_000_000),
            media_cap: Nanos::new(50_000_000),
            max_price_tolerance: Decimal::new(125, 2),
        }
    }
}

/// One immutable version of a price plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The version.
    pub version: PlanVersionId,
    /// The rule for every model that has none of its own.
    pub rule: PriceRule,
    /// Rules by model.
    pub overrides: HashMap<String, PriceRule>,
    /// Bounds.
    pub policy: PlanPolicy,
}

impl Plan {
    /// The rule for `model`.
    pub fn rule_for(&self, model: &str) -> &PriceRule {
        self.overrides.get(model).unwrap_or(&self.rule)
    }
}

/// A plan, shared by the accounts that have it.
pub type SharedPlan = Arc<Plan>;

/// The factor of the default plan: 80 % of the list price.
pub const DEFAULT_CLIENT_FACTOR: Decimal = Decimal::from_parts(8, 0, 0, false, 1);

impl PriceRule {
    /// The rule of the default plan.
    pub const fn default_rule() -> Self {
        Self::PercentOfList {
            factor: DEFAULT_CLIENT_FACTOR,
        }
    }

    /// What one dollar of list cost costs the client at most, when serving costs the operator up to `cost_share` of it;
    /// `None` when the price does not follow from the list cost.
    pub fn price_share(&self, cost_share: Decimal) -> Option<Decimal> {
        match self {
            Self::PercentOfList { factor } => Some((*factor).max(cost_share)),
            Self::MarkupOnCost { markup } => cost_share.checked_mul(Decimal::ONE + *markup),
            Self::OwnPrices { .. } => None,
        }
    }

    /// Whether the numbers are ones that a price can be made of.
    pub fn is_valid(&self) -> bool {
        let good = |value: &Decimal| {
            *value >= Decimal::ZERO && value.scale() <= 12 && *value <= Decimal::ONE_THOUSAND
        };
        match self {
            Self::PercentOfList { factor } => good(factor),
            Self::MarkupOnCost { markup } => good(markup),
            Self::OwnPrices {
                prompt,
                completion,
                request,
            } => [prompt, completion, request].into_iter().all(good),
        }
    }
}
