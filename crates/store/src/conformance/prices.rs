//! The price book and master accounts.

use std::sync::Arc;

use airouter_billing::price_book::{OutputLimit, PriceKey, RawPricing};

use super::world::{START, new_master};
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

/// Master accounts come back as they were added.
pub async fn master_accounts_are_kept_in_order(store: Arc<dyn Store>) {
    let accounts = [new_master("b"), new_master("a")];
    for account in &accounts {
        store.add_master_account(account, START).await.unwrap();
    }
    let found = store.master_accounts().await.unwrap();
    assert_eq!(found.len(), 2);
    for (found, account) in found.iter().zip(&accounts) {
        assert_eq!(found.id, account.id);
        assert_eq!(found.name, account.name);
        assert_eq!(found.base_url, account.base_url);
        assert_eq!(found.key, account.key);
        assert_eq!(found.key_fingerprint, account.key_fingerprint);
        assert_eq!(found.discount, account.discount);
        assert_eq!(found.status, account.status);
    }
}

/// The same key is not a second account.
pub async fn a_key_is_one_master_account(store: Arc<dyn Store>) {
    store
        .add_master_account(&new_master("a"), START)
        .await
        .unwrap();
    let refused = store.add_master_account(&new_master("a"), START).await;
    assert!(matches!(refused, Err(StoreError::Exists { .. })));
}
