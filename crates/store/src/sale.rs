//! What is on sale: decided by the operator, told to caches by [`Change::Prices`](crate::clients::Change::Prices).

use airouter_billing::sale::{Alias, SaleRules, SaleState};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::audit::AuditEntry;
use crate::error::StoreError;
use crate::seen::Seen;

/// What an alias stands for.
pub fn described_alias(alias: &Alias) -> Value {
    json!({ "models": alias.models() })
}

/// How a model is sold.
pub fn described_state(state: SaleState) -> Value {
    json!({ "state": state.name() })
}

/// Which model is the default.
pub fn described_default(model: Option<&str>) -> Value {
    json!({ "default_model": model })
}

/// What is on sale, and under which names. Every change writes its entry of the audit log in its own transaction.
#[async_trait]
pub trait Sale: Send + Sync + 'static {
    /// All that was decided, as of one moment.
    async fn sale_rules(&self) -> Result<SaleRules, StoreError>;

    /// Decides whether a model is sold, whether or not the upstream lists it now.
    async fn set_sale_state(
        &self,
        model: &str,
        state: SaleState,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Adds an alias, or gives one other models. [`StoreError::ChangedMeanwhile`] when it is not as it was seen.
    async fn set_alias(
        &self,
        alias: &Alias,
        seen: &Seen,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Removes an alias. [`StoreError::NotFound`] when there is none of this name.
    async fn remove_alias(&self, name: &str, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Sets which model (or alias) requests get that name none; `None` leaves it to each replica's configuration.
    async fn set_default_model(
        &self,
        model: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
}
