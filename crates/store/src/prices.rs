//! The price book's versions.

use airouter_billing::price_book::RawPricing;
use airouter_billing::{ModelPrices, Timestamp};
use async_trait::async_trait;

use crate::error::StoreError;

/// A model as the upstream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// Its id.
    pub id: String,
    /// Its prices, as text; checked by [`airouter_billing::price_book::Pricing::from_raw`] before they get here.
    pub pricing: RawPricing,
    /// Most tokens of prompt and answer together.
    pub context_length: Option<u64>,
    /// Most tokens of an answer.
    pub max_completion_tokens: Option<u64>,
    /// Whether an answer can be limited.
    pub output_limit: airouter_billing::price_book::OutputLimit,
    /// The whole model object as the upstream sent it (JSON), for `/models`.
    pub listing: String,
}

/// A model on sale.
#[derive(Clone, Debug)]
pub struct CatalogModel {
    /// The prices that are in force.
    pub prices: ModelPrices,
    /// The model object as the upstream sent it (JSON).
    pub listing: String,
}

/// The price book.
#[async_trait]
pub trait Prices: Send + Sync + 'static {
    /// Puts an upstream's list in force from `now` on: models that are new or changed get a new version, models that are
    /// gone are no longer sold, all else stays. Returns how many versions were written.
    async fn record_models(
        &self,
        provider: &str,
        models: &[ListedModel],
        now: Timestamp,
    ) -> Result<usize, StoreError>;

    /// All active models with the prices in force.
    async fn catalog(&self) -> Result<Vec<CatalogModel>, StoreError>;

    /// One version of a model's prices, for pricing an old event again.
    async fn model_prices(
        &self,
        version: airouter_billing::ids::ModelPricingId,
    ) -> Result<Option<ModelPrices>, StoreError>;

    /// The last version of a model's prices that was in force from `at` or earlier on.
    async fn model_prices_at(
        &self,
        model: &str,
        at: Timestamp,
    ) -> Result<Option<ModelPrices>, StoreError>;
}
