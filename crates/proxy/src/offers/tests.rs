use super::*;

use airouter_billing::ids::ModelPricingId;
use airouter_billing::price_book::{OutputLimit, Pricing, RawPricing};
use airouter_billing::sale::SaleRules;
use airouter_store::prices::{CatalogModel, PriceProvider};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::metrics::Metrics;

pub(crate) fn account(number: u128) -> MasterAccountId {
    MasterAccountId::new(Uuid::from_u128(number))
}

fn prices(id: &str, each: &str) -> ModelPrices {
    let price = |name: &str| (name.to_owned(), each.to_owned());
    let raw = RawPricing {
        prices: vec![price("prompt"), price("completion")],
        overrides: Vec::new(),
    };
    ModelPrices {
        version: ModelPricingId::new(1),
        id: id.to_owned(),
        pricing: Pricing::from_raw(&raw).unwrap(),
        context_length: Some(1_000),
        max_completion_tokens: None,
        output_limit: OutputLimit::Supported,
    }
}

impl Servers {
    /// OpenRouter serves the model at `openrouter`, and each of `compatible` (its number) one at a place, at a share of
    /// OpenRouter's list price.
    pub(crate) fn of(openrouter: Option<usize>, compatible: &[(u128, usize, Decimal)]) -> Self {
        let suited = |(number, place, list_share): &(u128, usize, Decimal)| {
            Arc::new(Suited {
                offer: Arc::new(Offer {
                    account: account(*number),
                    prices: prices("a/b", "0.1"),
                    served_as: ServedAs::named("b"),
                }),
                shown_as: "a/b".to_owned(),
                most_output: 1,
                fit: Fit {
                    place: *place,
                    list_share: *list_share,
                },
            })
        };
        Self {
            openrouter: openrouter.map(|place| Fit {
                place,
                list_share: Decimal::ONE,
            }),
            compatible: compatible.iter().map(suited).collect(),
        }
    }
}

#[test]
fn a_catalog_has_openrouters_models_with_offers_and_those_that_are_only_offered() {
    let model = |provider, id: &str, each: &str| CatalogModel {
        provider,
        prices: prices(id, each),
        listing: format!(r#"{{"id":"{id}","each":"{each}"}}"#),
        served_as: (provider != PriceProvider::OpenRouter).then(|| ServedAs::named("x")),
    };
    let (one, two) = (
        PriceProvider::Compatible(account(1)),
        PriceProvider::Compatible(account(2)),
    );
    let models = vec![
        model(one, "b/both", "0.1"),
        model(PriceProvider::OpenRouter, "b/both", "0.3"),
        model(one, "a/offered", "0.2"),
        model(two, "a/offered", "0.4"),
        model(PriceProvider::OpenRouter, "c/listed", "0.5"),
    ];
    let catalog = Catalog::new(models, SaleRules::default(), &Metrics::new().unwrap());
    let ids: Vec<_> = catalog
        .listed()
        .map(|entry| entry.prices.id.as_str())
        .collect();
    assert_eq!(ids, ["a/offered", "b/both", "c/listed"]);
    let entry = |id| catalog.get(id).unwrap();
    assert_eq!(entry("a/offered").sold_by, SoldBy::Servers);
    // The dearest is shown and held.
    assert!(entry("a/offered").listing.contains("0.4"));
    assert_eq!(entry("a/offered").prices, prices("a/offered", "0.4"));
    assert_eq!(entry("a/offered").offers.len(), 2);
    assert_eq!(entry("b/both").sold_by, SoldBy::OpenRouter);
    assert_eq!(entry("b/both").prices, prices("b/both", "0.3"));
    let offer = &entry("b/both").offers[0];
    assert_eq!(
        (offer.account, entry("b/both").offers.len()),
        (account(1), 1)
    );
    assert_eq!(
        offer.prices.relative_to(&entry("b/both").prices),
        Decimal::ONE.checked_div(Decimal::from(3))
    );
    assert!(entry("c/listed").offers.is_empty());
}
