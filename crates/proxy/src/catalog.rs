//! The models on sale, as requests need them.

use std::collections::HashMap;
use std::sync::Arc;

use airouter_billing::ModelPrices;
use airouter_store::prices::CatalogModel;

use crate::metrics::{Metrics, ModelMetrics};

/// A model on sale.
pub struct CatalogEntry {
    /// Its prices.
    pub prices: ModelPrices,
    /// The model object as the upstream sent it (JSON).
    pub listing: String,
    /// Its series.
    pub metrics: Arc<ModelMetrics>,
}

/// All models on sale, as of one moment.
#[derive(Default)]
pub struct Catalog {
    models: HashMap<String, Arc<CatalogEntry>>,
    order: Vec<Arc<CatalogEntry>>,
}

impl Catalog {
    /// A catalog of these models, in their order.
    pub fn new(models: Vec<CatalogModel>, metrics: &Metrics) -> Self {
        let order: Vec<_> = models
            .into_iter()
            .map(|model| {
                let metrics = metrics.for_model(&model.prices.id);
                Arc::new(CatalogEntry {
                    prices: model.prices,
                    listing: model.listing,
                    metrics,
                })
            })
            .collect();
        let models = order
            .iter()
            .map(|entry| (entry.prices.id.clone(), Arc::clone(entry)))
            .collect();
        Self { models, order }
    }

    /// The model with exactly this id.
    pub fn get(&self, id: &str) -> Option<&Arc<CatalogEntry>> {
        self.models.get(id)
    }

    /// Whether there is a model with exactly this id.
    pub fn contains(&self, id: &str) -> bool {
        self.models.contains_key(id)
    }

    /// All models.
    pub fn models(&self) -> &[Arc<CatalogEntry>] {
        &self.order
    }

    /// Whether no price book is in force yet.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
