//! The models on sale and their names, as requests need them.

use std::collections::HashMap;
use std::sync::Arc;

use airouter_billing::ModelPrices;
use airouter_billing::model_id::RequestedModel;
use airouter_billing::price_book::PriceKey;
use airouter_billing::sale::{PriceList, SaleRules, SaleState};
use airouter_store::prices::{CatalogModel, PriceProvider};

use crate::metrics::{Metrics, ModelMetrics};
use crate::offers::Offer;
use crate::wire::json;

/// Who has a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoldBy {
    /// OpenRouter, and perhaps compatible servers.
    OpenRouter,
    /// Compatible servers alone.
    Servers,
}

/// A model of the price book.
pub struct CatalogEntry {
    /// Its prices: OpenRouter's; of a model that it does not have, those of the dearest server.
    pub prices: ModelPrices,
    /// The model object as the upstream sent it (JSON).
    pub listing: String,
    /// Who has it.
    pub sold_by: SoldBy,
    /// What compatible servers ask for it, one a server.
    pub offers: Vec<Arc<Offer>>,
    /// The model that its id stands for at the upstream, if it is such an id.
    redirect: Option<String>,
    /// Its series.
    pub metrics: Arc<ModelMetrics>,
}

impl CatalogEntry {
    /// The model that its id stands for at the upstream, if it is such an id.
    pub fn redirect(&self) -> Option<&str> {
        self.redirect.as_deref()
    }
}

/// The price book, and what of it is on sale under which names, as of one moment.
#[derive(Default)]
pub struct Catalog {
    models: HashMap<String, Arc<CatalogEntry>>,
    order: Vec<Arc<CatalogEntry>>,
    rules: SaleRules,
}

impl Catalog {
    /// A catalog of these models, in their order, of which `rules` says what is sold.
    pub fn new(models: Vec<CatalogModel>, rules: SaleRules, metrics: &Metrics) -> Self {
        let (models, mut offered) = by_seller(models);
        let slugs = canonical_slugs(&models);
        let mut order: Vec<_> = models
            .into_iter()
            .map(|model| {
                let metrics = metrics.for_model(&model.prices.id);
                let redirect = redirect(&model.listing);
                let offered = offered.remove(&model.prices.id).unwrap_or_default();
                Arc::new(CatalogEntry {
                    sold_by: SoldBy::OpenRouter,
                    offers: offered.into_iter().map(|offered| offered.offer).collect(),
                    prices: model.prices,
                    redirect: redirect.map(|slug| slugs.get(&slug).cloned().unwrap_or(slug)),
                    listing: model.listing,
                    metrics,
                })
            })
            .collect();
        let elsewhere = offered
            .into_values()
            .filter_map(|offered| only_offered(offered, metrics));
        order.extend(elsewhere.map(Arc::new));
        order.sort_by(|left, right| left.prices.id.cmp(&right.prices.id));
        let models = order
            .iter()
            .map(|entry| (entry.prices.id.clone(), Arc::clone(entry)))
            .collect();
        Self {
            models,
            order,
            rules,
        }
    }

    /// The model with exactly this id, whether or not it is sold: what served is priced by it.
    pub fn get(&self, id: &str) -> Option<&Arc<CatalogEntry>> {
        self.models.get(id)
    }

    /// The model by whose prices a name is priced that is no alias: exactly this one, or the one without its modifier.
    pub fn priced(&self, name: &str) -> Option<&Arc<CatalogEntry>> {
        let requested = RequestedModel::resolve(name, |id| self.lists(id))?;
        self.get(requested.priced_as)
    }

    /// What the operator decided.
    pub fn rules(&self) -> &SaleRules {
        &self.rules
    }

    /// The model with exactly this id, if it can be used.
    pub fn sold(&self, id: &str) -> Option<&Arc<CatalogEntry>> {
        self.get(id).filter(|_| self.rules.is_sold(id, self))
    }

    /// All models that can be used.
    pub fn all_sold(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.order
            .iter()
            .filter(|entry| self.rules.is_sold(&entry.prices.id, self))
    }

    /// All models that are listed.
    pub fn listed(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        let is_hidden = |entry: &CatalogEntry| {
            self.rules.state_of(&entry.prices.id) != SaleState::OnSale
                || self.rules.aliases.contains_key(&entry.prices.id)
        };
        self.all_sold().filter(move |entry| !is_hidden(entry))
    }

    /// Whether no price book is in force yet.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl PriceList for Catalog {
    fn lists(&self, id: &str) -> bool {
        self.models.contains_key(id)
    }

    fn redirect_of(&self, id: &str) -> Option<&str> {
        self.models.get(id)?.redirect.as_deref()
    }
}

/// An offer with the model object that tells of it.
struct Offered {
    offer: Arc<Offer>,
    listing: String,
}

/// OpenRouter's models, and what compatible servers offer by the model's id.
fn by_seller(models: Vec<CatalogModel>) -> (Vec<CatalogModel>, HashMap<String, Vec<Offered>>) {
    let mut listed = Vec::with_capacity(models.len());
    let mut offered: HashMap<String, Vec<Offered>> = HashMap::new();
    for model in models {
        match (model.provider, model.served_as) {
            (PriceProvider::Compatible(account), Some(served_as)) => {
                let id = model.prices.id.clone();
                offered.entry(id).or_default().push(Offered {
                    offer: Arc::new(Offer {
                        account,
                        prices: model.prices,
                        served_as,
                    }),
                    listing: model.listing,
                });
            }
            (PriceProvider::Compatible(_), None) => {}
            (PriceProvider::OpenRouter, _) => listed.push(CatalogModel {
                served_as: None,
                ..model
            }),
        }
    }
    (listed, offered)
}

/// A model that only compatible servers have, as the dearest of them lists it.
fn only_offered(offered: Vec<Offered>, metrics: &Metrics) -> Option<CatalogEntry> {
    let price = |offered: &&Offered| {
        let prices = &offered.offer.prices;
        let of = |key| prices.dearest(&[key]).unwrap_or_default();
        of(PriceKey::Prompt).saturating_add(of(PriceKey::Completion))
    };
    let dearest = offered.iter().max_by_key(price)?;
    let prices = dearest.offer.prices.clone();
    Some(CatalogEntry {
        sold_by: SoldBy::Servers,
        metrics: metrics.for_model(&prices.id),
        listing: dearest.listing.clone(),
        offers: offered.into_iter().map(|offered| offered.offer).collect(),
        redirect: None,
        prices,
    })
}

/// `alias_target.slug` of a model object: what `~author/family-latest` stands for (wire-contract §1.5).
fn redirect(listing: &str) -> Option<String> {
    let members = json::members(listing).ok()?;
    let target = json::members(json::last(&members, "alias_target")?).ok()?;
    json::string(json::last(&target, "slug")?).map(Into::into)
}

/// Ids by the slugs under which the upstream also knows them; of models that share one, the first.
fn canonical_slugs(models: &[CatalogModel]) -> HashMap<String, String> {
    let mut slugs = HashMap::new();
    for model in models {
        let id = &model.prices.id;
        slugs.insert(id.clone(), id.clone());
    }
    for model in models {
        let members = json::members(&model.listing).unwrap_or_default();
        let slug = json::last(&members, "canonical_slug").and_then(json::string);
        if let Some(slug) = slug {
            slugs
                .entry(slug.into_owned())
                .or_insert_with(|| model.prices.id.clone());
        }
    }
    slugs
}
