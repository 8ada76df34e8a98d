//! The price book and master accounts.

use std::sync::Arc;

use airouter_billing::price_book::{OutputLimit, PriceKey, RawPricing};

use super::world::START;
use crate::clients::ChangePosition;
use crate::prices::ListedModel;
use crate::{Store, StoreError};

fn listed(id: &str, prompt: &str) -> ListedModel {
    ListedModel {
        id: id.to_owned(),
        pricing: RawPricing {
            prices: vec![
                ("prompt".to_owned(), prompt.to_owned()),
                ("completion".to_owned(), "0.00001".to_owned()),
            ],
            overrides: Vec::new(),
        },
        context_length: Some(128_000),
        max_completion_tokens: None,
        output_limit: OutputLimit::Supported,
        listing: format!(r#"{{"id":"{id}"}}"#),
    }
}

/// What a model cost at a time, whatever it costs now.
pub async fn prices_of_the_past_are_known(store: Arc<dyn Store>) {
    let later = START.plus_seconds(10);
    for (prompt, at) in [("0.000001", START), ("0.000003", later)] {
        let list = [listed("a/one", prompt)];
        store.record_models("openrouter", &list, at).await.unwrap();
    }
    let versions = |at| {
        let store = Arc::clone(&store);
        async move {
            let prices = store.model_prices_at("a/one", at).await.unwrap();
            prices.map(|prices| prices.version)
        }
    };
    let present = store.catalog().await.unwrap().remove(0).prices.version;
    assert_eq!(versions(START.plus_seconds(-1)).await, None);
    let first = versions(START).await.unwrap();
    assert!(first < present);
    assert_eq!(versions(later.plus_seconds(-1)).await, Some(first));
    assert_eq!(versions(later).await, Some(present));
    let unknown = store.model_prices_at("b/two", later).await.unwrap();
    assert_eq!(unknown, None);
}

/// A list that says nothing new writes nothing; a price that changed is a new version, and the old one stays.
pub async fn prices_get_versions(store: Arc<dyn Store>) {
    let models = [listed("a/one", "0.000001"), listed("b/two", "0.000002")];
    let written = store.record_models("openrouter", &models, START).await;
    assert_eq!(written.unwrap(), 2);
    let again = store.record_models("openrouter", &models, START).await;
    assert_eq!(again.unwrap(), 0);
    let before = store.catalog().await.unwrap();
    let ids: Vec<_> = before
        .iter()
        .map(|model| model.prices.id.as_str())
        .collect();
    assert_eq!(ids, ["a/one", "b/two"]);
    assert_eq!(before[0].listing, models[0].listing);
    assert_eq!(before[0].prices.context_length, Some(128_000));
    assert_eq!(before[0].prices.max_completion_tokens, None);
    assert_eq!(before[0].prices.output_limit, OutputLimit::Supported);

    let position = store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap()
        .position;
    let dearer = [listed("a/one", "0.000003"), models[1].clone()];
    let written = store.record_models("openrouter", &dearer, START).await;
    assert_eq!(written.unwrap(), 1);
    let changes = store.changes_since(&position).await.unwrap().changes;
    assert!(changes.contains(&crate::clients::Change::Prices));
    let after = store.catalog().await.unwrap();
    assert_eq!(after.len(), 2);
    assert_eq!(after[1].prices, before[1].prices);
    let prompt = |version| {
        let store = Arc::clone(&store);
        async move {
            let prices = store.model_prices(version).await.unwrap().unwrap();
            prices.dearest(&[PriceKey::Prompt]).unwrap().to_string()
        }
    };
    assert_eq!(prompt(before[0].prices.version).await, "0.000001");
    assert_eq!(prompt(after[0].prices.version).await, "0.000003");
    let unknown = airouter_billing::ids::ModelPricingId::new(999_999);
    assert!(store.model_prices(unknown).await.unwrap().is_none());
}

/// What the upstream does not list any more is not sold; another upstream's models stay.
pub async fn a_model_that_is_gone_is_not_sold(store: Arc<dyn Store>) {
    let (one, two) = (listed("a/one", "0.1"), listed("b/two", "-1"));
    let other = [listed("c/three", "0.2")];
    store
        .record_models("openrouter", &[one.clone(), two.clone()], START)
        .await
        .unwrap();
    store.record_models("other", &other, START).await.unwrap();
    let written = store.record_models("openrouter", &[two], START).await;
    assert_eq!(written.unwrap(), 0);
    let catalog = store.catalog().await.unwrap();
    let ids: Vec<_> = catalog
        .iter()
        .map(|model| model.prices.id.as_str())
        .collect();
    assert_eq!(ids, ["b/two", "c/three"]);
    assert!(catalog[0].prices.is_dynamic());
    let written = store.record_models("openrouter", &[one], START).await;
    assert_eq!(written.unwrap(), 1);
}

/// A negative price never gets in.
pub async fn bad_prices_are_refused(store: Arc<dyn Store>) {
    let models = [listed("a/one", "0.1"), listed("b/two", "-0.1")];
    let refused = store.record_models("openrouter", &models, START).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));
    assert!(store.catalog().await.unwrap().is_empty());
}
