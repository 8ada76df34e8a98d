//! Budgets: caps on a quantity over a period. A balance, a key's limit, a tier's monthly limit and 200 requests a day
//! are all budgets.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::AccountId;
use crate::period::Period;
use crate::time::Timestamp;

/// What a budget caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Nano-dollars of the client's price.
    Nanos,
    /// Requests.
    Requests,
}

impl Quantity {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanos => "nanos",
            Self::Requests => "requests",
        }
    }

    /// The quantity with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Nanos, Self::Requests]
            .into_iter()
            .find(|quantity| quantity.name() == name)
    }
}

/// Which budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum BudgetId {
    /// The balance of a prepaid account; free is balance + credit line − reserved.
    Balance(AccountId),
    /// A cap on a key, a member, a tier or an account; free is cap − spent − reserved in the period.
    Cap(Uuid),
}

/// One budget of a payer's chain, as admission needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BudgetRef {
    /// Which one.
    pub id: BudgetId,
    /// What it caps.
    pub quantity: Quantity,
    /// How often it starts anew.
    pub period: Period,
}

impl BudgetRef {
    /// The budget in the period that contains `now`: what a lease is for, and what a hold is settled against.
    pub fn slot(&self, now: Timestamp) -> BudgetSlot {
        BudgetSlot {
            id: self.id,
            period_start: self.period.start(now),
        }
    }
}

/// A budget in one of its periods. A request is settled in the period of its admission, whatever the time is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BudgetSlot {
    /// Which budget.
    pub id: BudgetId,
    /// When the period began; the epoch for a budget without periods.
    pub period_start: Timestamp,
}
