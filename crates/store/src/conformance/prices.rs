//! The price book and master accounts.

use std::sync::Arc;

use airouter_billing::MasterAccountId;
use airouter_billing::price_book::{OutputLimit, PriceKey, RawPricing};
use airouter_billing::price_table::{LimitField, ServedAs};

use super::world::START;
use crate::clients::ChangePosition;
use crate::prices::{ListedModel, PriceProvider};
use crate::{Store, StoreError};

pub(super) fn listed(id: &str, prompt: &str) -> ListedModel {
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
        served_as: None,
    }
}

pub(super) fn served(model: ListedModel, upstream_model: &str) -> ListedModel {
    ListedModel {
        served_as: Some(ServedAs::named(upstream_model)),
        ..model
    }
}

/// What a model cost at a time, whatever it costs now.
pub async fn prices_of_the_past_are_known(store: Arc<dyn Store>) {
    let later = START.plus_seconds(10);
    for (prompt, at) in [("0.000001", START), ("0.000003", later)] {
        let list = [listed("a/one", prompt)];
        store
            .record_models(PriceProvider::OpenRouter, &list, at)
            .await
            .unwrap();
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
    let written = store
        .record_models(PriceProvider::OpenRouter, &models, START)
        .await;
    assert_eq!(written.unwrap(), 2);
    let again = store
        .record_models(PriceProvider::OpenRouter, &models, START)
        .await;
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
    let written = store
        .record_models(PriceProvider::OpenRouter, &dearer, START)
        .await;
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
    let other_provider = PriceProvider::Compatible(MasterAccountId::new(uuid::Uuid::from_u128(1)));
    let other = [served(listed("c/three", "0.2"), "three")];
    store
        .record_models(
            PriceProvider::OpenRouter,
            &[one.clone(), two.clone()],
            START,
        )
        .await
        .unwrap();
    store
        .record_models(other_provider, &other, START)
        .await
        .unwrap();
    let written = store
        .record_models(PriceProvider::OpenRouter, &[two], START)
        .await;
    assert_eq!(written.unwrap(), 0);
    let catalog = store.catalog().await.unwrap();
    let ids: Vec<_> = catalog
        .iter()
        .map(|model| model.prices.id.as_str())
        .collect();
    assert_eq!(ids, ["b/two", "c/three"]);
    assert!(catalog[0].prices.is_dynamic());
    let written = store
        .record_models(PriceProvider::OpenRouter, &[one], START)
        .await;
    assert_eq!(written.unwrap(), 1);
}

/// The table of each compatible server is a list of its own, beside OpenRouter's and every other; how the server is asked
/// is part of a version.
pub async fn servers_have_price_tables_of_their_own(store: Arc<dyn Store>) {
    let provider =
        |number| PriceProvider::Compatible(MasterAccountId::new(uuid::Uuid::from_u128(number)));
    let one = listed("a/one", "0.000001");
    let cheap = served(listed("a/one", "0.0000005"), "one-x");
    let lists = [
        (PriceProvider::OpenRouter, one.clone()),
        (provider(1), cheap.clone()),
        (provider(2), served(one.clone(), "one-y")),
    ];
    for (provider, model) in &lists {
        let written = store
            .record_models(*provider, std::slice::from_ref(model), START)
            .await;
        assert_eq!(written.unwrap(), 1);
    }
    let catalog = store.catalog().await.unwrap();
    assert_eq!(catalog.len(), lists.len());
    assert_eq!(
        catalog.last().map(|model| model.provider),
        Some(PriceProvider::OpenRouter)
    );
    for (provider, model) in &lists {
        let found = catalog.iter().find(|found| found.provider == *provider);
        let found = found.unwrap();
        assert_eq!(
            (&found.prices.id, &found.served_as),
            (&model.id, &model.served_as)
        );
        assert_eq!(found.listing, model.listing);
    }
    // The prices of a time are OpenRouter's.
    let known = store.model_prices_at("a/one", START).await.unwrap();
    let listed_there = catalog.last().map(|model| model.prices.clone());
    assert_eq!(known, listed_there);
    // Another way to ask is another version; the same is not.
    let position = store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap()
        .position;
    let mut otherwise = cheap.clone();
    otherwise.served_as = Some(ServedAs {
        limit_field: LimitField::MaxCompletionTokens,
        extra_fields: vec!["top_k".to_owned()],
        ..ServedAs::named("one-x")
    });
    for (model, versions) in [(&cheap, 0), (&otherwise, 1), (&otherwise, 0)] {
        let models = std::slice::from_ref(model);
        let written = store.record_models(provider(1), models, START).await;
        assert_eq!(written.unwrap(), versions);
    }
    let changes = store.changes_since(&position).await.unwrap().changes;
    assert!(changes.contains(&crate::clients::Change::Prices));
    let catalog = store.catalog().await.unwrap();
    let found = catalog
        .iter()
        .find(|found| found.provider == provider(1))
        .unwrap();
    assert_eq!(found.served_as, otherwise.served_as);
    let old = store.model_prices(found.prices.version).await.unwrap();
    assert_eq!(old.as_ref(), Some(&found.prices));
    // An empty table takes back all that it said.
    let written = store.record_models(provider(1), &[], START).await;
    assert_eq!(written.unwrap(), 0);
    assert_eq!(store.catalog().await.unwrap().len(), 2);
}

/// A negative price never gets in.
pub async fn bad_prices_are_refused(store: Arc<dyn Store>) {
    let models = [listed("a/one", "0.1"), listed("b/two", "-0.1")];
    let refused = store
        .record_models(PriceProvider::OpenRouter, &models, START)
        .await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));
    assert!(store.catalog().await.unwrap().is_empty());
}
