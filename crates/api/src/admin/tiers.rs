//! `/v1/admin/tiers`: named monthly limits.

pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod remove;
pub(crate) mod set;

use airouter_store::tiers::Tier as Stored;
use serde::Serialize;
use utoipa::ToSchema;

use crate::values::Usd;

/// A tier.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tier {
    /// Its name.
    #[schema(example = "standard")]
    name: String,
    /// What an account may spend in a month; null is any amount.
    monthly_limit: Option<Usd>,
    /// How many accounts have it.
    accounts: u64,
}

impl From<Stored> for Tier {
    fn from(tier: Stored) -> Self {
        Self {
            name: tier.name,
            monthly_limit: tier.monthly_limit.map(Usd),
            accounts: tier.accounts,
        }
    }
}
