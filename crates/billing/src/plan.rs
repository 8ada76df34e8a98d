//! Price plans: what the client pays for a list cost.

use std::collections::HashMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::access::ModelAccess;
use crate::cost_raising::{CostRaisingRule, CostRaisingRules, CostRaisingUse};
use crate::disconnect::DisconnectPolicy;
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
///
/// What a version does not mention has its default here for ever: versions are immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanPolicy {
    /// What a router (`-1`), a plugin, a server tool, a service tier or a web search is held at, each.
    pub cost_raising_cap: Nanos,
    /// What an image, audio or file that is only linked to, and so of unknown size, is held at.
    pub media_cap: Nanos,
    /// Highest price that the upstream may choose, as a multiple of the price book.
    pub max_price_tolerance: Decimal,
    /// The models that may be used.
    #[serde(skip_serializing_if = "ModelAccess::is_unrestricted")]
    pub allowed_models: ModelAccess,
    /// What may raise the cost beyond tokens, and at what it is held.
    #[serde(skip_serializing_if = "CostRaisingRules::is_default")]
    pub cost_raising: CostRaisingRules,
    /// What becomes of answers whose client has gone.
    #[serde(skip_serializing_if = "DisconnectPolicy::is_default")]
    pub disconnect: DisconnectPolicy,
}

/// A plan does not include something that a request uses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan does not include it")]
pub struct NotInPlan(pub CostRaisingUse);

/// Whether a request may ask every model that the upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// It may.
    Free,
    /// Some are disabled, or a list says which ones.
    Limited,
}

impl PlanPolicy {
    /// What a use is held at, or that it is refused.
    pub fn cap_of(&self, used: &CostRaisingUse) -> Result<Nanos, NotInPlan> {
        match self.cost_raising.rule_for(used) {
            CostRaisingRule::Allow => Ok(self.cost_raising_cap),
            CostRaisingRule::Cap(cap) => Ok(cap),
            CostRaisingRule::Refuse => Err(NotInPlan(used.clone())),
        }
    }

    /// What several uses are held at together, each different one once. Where not every model may be asked, none may choose
    /// models itself, unless the plan names it.
    pub fn caps_of(
        &self,
        used: &[CostRaisingUse],
        models: ModelChoice,
    ) -> Result<Nanos, NotInPlan> {
        let mut sum = Nanos::ZERO;
        for (index, one) in used.iter().enumerate() {
            if used[..index].contains(one) {
                continue;
            }
            if models == ModelChoice::Limited
                && one.may_choose_models()
                && !self.cost_raising.allows_by_name(one)
            {
                return Err(NotInPlan(one.clone()));
            }
            sum = sum.saturating_add(self.cap_of(one)?);
        }
        Ok(sum)
    }
}

impl Default for PlanPolicy {
    /// $0.50 for what has no price, $0.05 a linked medium, a quarter above the book.
    fn default() -> Self {
        Self {
            cost_raising_cap: Nanos::new(500_000_000),
            media_cap: Nanos::new(50_000_000),
            max_price_tolerance: Decimal::new(125, 2),
            allowed_models: ModelAccess::All,
            cost_raising: CostRaisingRules::default(),
            disconnect: DisconnectPolicy::default(),
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
    /// The rule for `model`, which at the upstream `stands_for` another one, or for none.
    pub fn rule_for(&self, model: &str, stands_for: Option<&str>) -> &PriceRule {
        let own = self.overrides.get(model);
        let others = || self.overrides.get(stands_for?);
        own.or_else(others).unwrap_or(&self.rule)
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

    /// What the client pays for a unit (`prompt`, `request`) whose list price is `list`, when serving costs the operator up to
    /// `cost_share` of it; `None` where the rule has no price for such a unit.
    pub fn unit_price(&self, unit: &str, list: Decimal, cost_share: Decimal) -> Option<Decimal> {
        match (self, unit) {
            (Self::OwnPrices { prompt, .. }, "prompt") => Some(*prompt),
            (Self::OwnPrices { completion, .. }, "completion") => Some(*completion),
            (Self::OwnPrices { request, .. }, "request") => Some(*request),
            _ => list.checked_mul(self.price_share(cost_share)?),
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
