//! `/v1/admin/prices`: what upstreams ask for their models, and what clients pay.

pub(crate) mod history;
pub(crate) mod list;

use std::collections::BTreeMap;

use airouter_billing::RateCard;
use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::price_book::{PriceKey, PriceOverride, Pricing};
use airouter_store::prices::CatalogModel;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

/// A model's prices in USD for a unit: a token of `prompt`, a `request`. Decimal texts.
pub(crate) type Rates = BTreeMap<&'static str, String>;

/// The prices of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Price {
    /// The model.
    #[schema(example = "openai/gpt-4o-mini")]
    model: String,
    /// Whose prices they are: `openrouter`, or `compatible:` with the id of a master account.
    #[schema(example = "openrouter")]
    provider: String,
    /// Which version.
    version: i64,
    /// What the upstream asks; null for a router, which is priced by the model that serves.
    #[schema(example = json!({"prompt": "0.00000015", "completion": "0.0000006"}))]
    list: Option<Rates>,
    /// What it asks under conditions.
    conditional: Vec<Conditional>,
    /// What a client pays, if a plan was named; null for units that the plan has no price for.
    #[schema(example = json!({"prompt": "0.00000012", "completion": "0.00000048"}))]
    client: Option<Rates>,
    /// Most tokens of prompt and answer together.
    context_length: Option<u64>,
    /// Most tokens of an answer.
    max_completion_tokens: Option<u64>,
}

/// Prices that hold under a condition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conditional {
    /// For prompts of more tokens than this.
    min_prompt_tokens: Option<u64>,
    /// From this time of the day in UTC.
    #[schema(example = "16:30")]
    utc_from: Option<String>,
    /// Until this time of the day in UTC.
    #[schema(example = "00:30")]
    utc_until: Option<String>,
    /// What the upstream asks then.
    list: Rates,
}

/// By what the client's price is made.
pub(crate) struct Seller<'a> {
    /// What the plan says.
    pub(crate) terms: &'a PlanTerms,
    /// What one dollar of list cost costs the operator at the cheapest account.
    pub(crate) cost_share: Decimal,
}

impl Seller<'_> {
    fn rates(&self, model: &str, list: &RateCard) -> Rates {
        let rule = self.terms.overrides.get(model).unwrap_or(&self.terms.rule);
        rates(list, |key, price| {
            rule.unit_price(key.name(), price, self.cost_share)
        })
    }
}

fn rates(list: &RateCard, price: impl Fn(PriceKey, Decimal) -> Option<Decimal>) -> Rates {
    let rate = |key: PriceKey| {
        let price = price(key, list.get(key)?)?;
        Some((key.name(), price.normalize().to_string()))
    };
    PriceKey::ALL.into_iter().filter_map(rate).collect()
}

fn list_rates(list: &RateCard) -> Rates {
    rates(list, |_, price| Some(price))
}

fn conditional(entry: &PriceOverride) -> Conditional {
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let (from, until) = entry.utc_minutes.unzip();
    Conditional {
        min_prompt_tokens: entry.min_prompt_tokens,
        utc_from: from.map(time),
        utc_until: until.map(time),
        list: list_rates(&entry.rates),
    }
}

/// A model of the price book as it is shown.
pub(crate) fn listed(model: &CatalogModel, seller: Option<&Seller<'_>>) -> Price {
    let prices = &model.prices;
    let (base, overrides) = match &prices.pricing {
        Pricing::Listed { base, overrides } => (Some(base), overrides.as_slice()),
        Pricing::Dynamic => (None, &[][..]),
    };
    let client = seller
        .zip(base)
        .map(|(seller, base)| seller.rates(&prices.id, base));
    Price {
        model: prices.id.clone(),
        provider: model.provider.to_string(),
        version: prices.version.get(),
        list: base.map(|base| list_rates(base)),
        conditional: overrides.iter().map(conditional).collect(),
        client,
        context_length: prices.context_length,
        max_completion_tokens: prices.max_completion_tokens,
    }
}
