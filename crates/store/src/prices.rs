//! The price book's versions.

use std::fmt;

use airouter_billing::price_book::{OutputLimit, RawPricing};
use airouter_billing::price_table::{ServedAs, TableEntry};
use airouter_billing::{MasterAccountId, ModelPrices, Timestamp};
use async_trait::async_trait;
use serde_json::json;

use crate::audit::AuditEntry;
use crate::error::StoreError;

/// Whose prices they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PriceProvider {
    /// OpenRouter's list, which holds for all accounts there.
    OpenRouter,
    /// The price table of an account at a compatible server.
    Compatible(MasterAccountId),
}

const OPENROUTER: &str = "openrouter";
const COMPATIBLE: &str = "compatible:";

impl PriceProvider {
    /// The provider with this name in the database.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == OPENROUTER {
            return Some(Self::OpenRouter);
        }
        let account = name.strip_prefix(COMPATIBLE)?.parse().ok()?;
        Some(Self::Compatible(MasterAccountId::new(account)))
    }
}

/// The name in the database.
impl fmt::Display for PriceProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenRouter => f.write_str(OPENROUTER),
            Self::Compatible(account) => write!(f, "{COMPATIBLE}{account}"),
        }
    }
}

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
    pub output_limit: OutputLimit,
    /// The whole model object as the upstream sent it (JSON), for `/models`.
    pub listing: String,
    /// How a compatible server is asked for it: of all its models, and of no others.
    pub served_as: Option<ServedAs>,
}

/// A model of a price table. Compatible servers are taken to obey output limits.
impl From<TableEntry> for ListedModel {
    fn from(entry: TableEntry) -> Self {
        let prices: serde_json::Map<_, _> = entry
            .pricing
            .prices
            .iter()
            .map(|(name, price)| (name.clone(), json!(price)))
            .collect();
        let listing = json!({
            "id": entry.id, "name": entry.id, "created": 0, "context_length": entry.context_length, "pricing": prices,
            "top_provider": {
                "context_length": entry.context_length, "max_completion_tokens": entry.max_completion_tokens,
                "is_moderated": false,
            },
        });
        Self {
            id: entry.id,
            pricing: entry.pricing,
            context_length: entry.context_length,
            max_completion_tokens: entry.max_completion_tokens,
            output_limit: OutputLimit::Supported,
            listing: listing.to_string(),
            served_as: Some(entry.served_as),
        }
    }
}

/// A model on sale.
#[derive(Clone, Debug)]
pub struct CatalogModel {
    /// Whose they are.
    pub provider: PriceProvider,
    /// The prices that are in force.
    pub prices: ModelPrices,
    /// The model object as the upstream sent it (JSON).
    pub listing: String,
    /// How a compatible server is asked for it.
    pub served_as: Option<ServedAs>,
}

/// A version of a model's prices.
#[derive(Clone, Debug)]
pub struct PriceVersion {
    /// The prices.
    pub model: CatalogModel,
    /// From when on they are in force.
    pub in_force_from: Timestamp,
    /// Whether they are sold by now.
    pub is_active: bool,
}

/// The price book.
#[async_trait]
pub trait Prices: Send + Sync + 'static {
    /// Puts a provider's list in force from `now` on: models that are new or changed get a new version, models that are
    /// gone are no longer sold, all else stays. Returns how many versions were written.
    async fn record_models(
        &self,
        provider: PriceProvider,
        models: &[ListedModel],
        now: Timestamp,
    ) -> Result<usize, StoreError>;

    /// Puts the price table of an account at a compatible server in force, at the time of the entry of the audit log, which is
    /// written with it. Returns how many versions were written.
    async fn set_price_table(
        &self,
        account: MasterAccountId,
        models: &[ListedModel],
        audit: &AuditEntry,
    ) -> Result<usize, StoreError>;

    /// At most `limit` versions of a model's prices, of whichever provider, the last one first, of those before `before`.
    async fn price_history(
        &self,
        model: &str,
        before: Option<airouter_billing::ids::ModelPricingId>,
        limit: u16,
    ) -> Result<Vec<PriceVersion>, StoreError>;

    /// All active models with the prices in force, by id; of one id OpenRouter's last.
    async fn catalog(&self) -> Result<Vec<CatalogModel>, StoreError>;

    /// One version of a model's prices, for pricing an old event again.
    async fn model_prices(
        &self,
        version: airouter_billing::ids::ModelPricingId,
    ) -> Result<Option<ModelPrices>, StoreError>;

    /// The last version of OpenRouter's prices of a model that was in force from `at` or earlier on.
    async fn model_prices_at(
        &self,
        model: &str,
        at: Timestamp,
    ) -> Result<Option<ModelPrices>, StoreError>;
}
