//! What is on sale: decided by the operator, told to caches by [`Change::Prices`](crate::clients::Change::Prices).

use airouter_billing::sale::{Alias, SaleRules, SaleState};
use async_trait::async_trait;

use crate::error::StoreError;

/// What is on sale, and under which names.
#[async_trait]
pub trait Sale: Send + Sync + 'static {
    /// All that was decided, as of one moment.
    async fn sale_rules(&self) -> Result<SaleRules, StoreError>;

    /// Decides whether a model is sold, whether or not the upstream lists it now.
    async fn set_sale_state(&self, model: &str, state: SaleState) -> Result<(), StoreError>;

    /// Adds an alias, or gives one other models.
    async fn set_alias(&self, alias: &Alias) -> Result<(), StoreError>;

    /// Removes an alias. [`StoreError::NotFound`] when there is none of this name.
    async fn remove_alias(&self, name: &str) -> Result<(), StoreError>;

    /// Sets which model (or alias) requests get that name none; `None` leaves it to each replica's configuration.
    async fn set_default_model(&self, model: Option<&str>) -> Result<(), StoreError>;
}
