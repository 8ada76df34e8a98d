//! Tiers: named monthly limits. What changes acts on the budgets of the accounts that have the tier.

use airouter_billing::Nanos;
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::audit::AuditEntry;
use crate::error::StoreError;
use crate::seen::Seen;

/// A tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// What an account may spend in a month; `None` is any amount.
    pub monthly_limit: Option<Nanos>,
    /// How many accounts have it.
    pub accounts: u64,
}

impl Tier {
    /// What the operator set of it.
    pub fn described(&self) -> Value {
        json!({ "monthly_limit": self.monthly_limit.map(|limit| limit.to_string()) })
    }
}

/// Tiers. Every change writes its entry of the audit log in its own transaction.
#[async_trait]
pub trait Tiers: Send + Sync + 'static {
    /// All of them, by name.
    async fn tiers(&self) -> Result<Vec<Tier>, StoreError>;

    /// Adds a tier, or gives one another limit, which caches of its accounts are told.
    async fn set_tier(
        &self,
        name: &str,
        seen: &Seen,
        monthly_limit: Option<Nanos>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Removes a tier. [`StoreError::NotFound`] when there is none, [`StoreError::InUse`] when an account has it.
    async fn remove_tier(&self, name: &str, audit: &AuditEntry) -> Result<(), StoreError>;
}
