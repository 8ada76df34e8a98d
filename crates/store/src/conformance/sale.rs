//! What is on sale, and price plans.

use std::sync::Arc;

use airouter_billing::event::{ModelName, Payment};
use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::sale::{Alias, SaleRules, SaleState};
use airouter_billing::{ModelAccess, PriceRule};
use uuid::Uuid;

use super::world::{START, World, new_person, told};
use crate::clients::{Change, ChangePosition};
use crate::{Seen, Store, StoreError};

async fn position(store: &Arc<dyn Store>) -> ChangePosition {
    let none = ChangePosition::default();
    store.changes_since(&none).await.unwrap().position
}

async fn assert_told(store: &Arc<dyn Store>, since: &ChangePosition, change: Change) {
    let changes = store.changes_since(since).await.unwrap().changes;
    assert!(changes.contains(&change), "{changes:?}");
}

fn alias(name: &str, models: &[&str]) -> Alias {
    let models = models.iter().map(|&model| model.to_owned()).collect();
    Alias::new(name.to_owned(), models).unwrap()
}

fn terms(factor: &str) -> PlanTerms {
    PlanTerms::from_json(&format!(
        r#"{{"rule":{{"rule":"percent_of_list","factor":"{factor}"}},"policy":{{"allowed_models":["a/*"]}}}}"#
    ))
    .unwrap()
}

/// What was decided last about models, aliases and the default holds, and caches are told.
pub async fn what_is_on_sale_is_kept_and_told(store: Arc<dyn Store>) {
    assert_eq!(store.sale_rules().await.unwrap(), SaleRules::default());
    let start = position(&store).await;
    store
        .set_sale_state("a/b", SaleState::Hidden, &told())
        .await
        .unwrap();
    assert_told(&store, &start, Change::Prices).await;
    store
        .set_sale_state("a/b", SaleState::Disabled, &told())
        .await
        .unwrap();
    store
        .set_sale_state("c/d", SaleState::OnSale, &told())
        .await
        .unwrap();

    let before_alias = position(&store).await;
    store
        .set_alias(&alias("mine", &["a/b"]), &Seen::Whatever, &told())
        .await
        .unwrap();
    assert_told(&store, &before_alias, Change::Prices).await;
    let mine = alias("mine", &["c/d:nitro", "a/b"]);
    store
        .set_alias(&mine, &Seen::Whatever, &told())
        .await
        .unwrap();
    store
        .set_alias(&alias("other", &["a/b"]), &Seen::Whatever, &told())
        .await
        .unwrap();

    let before_default = position(&store).await;
    store
        .set_default_model(Some("mine"), &told())
        .await
        .unwrap();
    assert_told(&store, &before_default, Change::Prices).await;
    store
        .set_default_model(Some("other"), &told())
        .await
        .unwrap();

    let rules = store.sale_rules().await.unwrap();
    assert_eq!(rules.state_of("a/b"), SaleState::Disabled);
    assert_eq!(rules.states.len(), 2);
    assert_eq!(rules.aliases.len(), 2);
    assert_eq!(rules.aliases.get("mine"), Some(&mine));
    assert_eq!(rules.default_model.as_deref(), Some("other"));

    let before_removal = position(&store).await;
    store.remove_alias("mine", &told()).await.unwrap();
    assert_told(&store, &before_removal, Change::Prices).await;
    let again = store.remove_alias("mine", &told()).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
    store.set_default_model(None, &told()).await.unwrap();
    let rules = store.sale_rules().await.unwrap();
    assert_eq!((rules.aliases.len(), rules.default_model), (1, None));
}

/// A plan's versions follow each other; the last is in force, and an account can be given another plan.
pub async fn a_plan_gets_versions_and_accounts(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let client = world.client(new_person(Payment::Prepaid), Vec::new()).await;
    let plans = store.plans().await.unwrap();
    assert_eq!(plans.len(), 1);
    let default = &plans[0];
    assert_eq!((default.name.as_str(), default.accounts), ("default", 1));
    assert_eq!(default.terms.rule, PriceRule::default_rule());

    let first = store
        .create_plan("gold", &terms("0.9"), &told())
        .await
        .unwrap();
    let taken = store.create_plan("gold", &terms("0.9"), &told()).await;
    assert!(matches!(taken, Err(StoreError::Exists { .. })));
    let before = position(&store).await;
    store
        .set_plan(client.account, "gold", &told())
        .await
        .unwrap();
    assert_told(&store, &before, Change::Account(client.account)).await;
    assert_eq!(world.snapshot(&client).await.plan.version, first);

    let before = position(&store).await;
    let second = store
        .add_plan_version("gold", &Seen::Whatever, &terms("0.7"), &told())
        .await
        .unwrap();
    assert!(second > first);
    assert_told(&store, &before, Change::Prices).await;
    let plan = world.snapshot(&client).await.plan;
    assert_eq!(plan.version, second);
    assert_eq!(PlanTerms::from(&*plan), terms("0.7"));
    assert_eq!(
        plan.policy.allowed_models,
        ModelAccess::Only(vec!["a/*".to_owned()])
    );
    let plans = store.plans().await.unwrap();
    let names: Vec<_> = plans
        .iter()
        .map(|plan| (plan.name.as_str(), plan.accounts))
        .collect();
    assert_eq!(names, [("default", 0), ("gold", 1)]);
    assert_eq!((plans[1].version, &plans[1].terms), (second, &terms("0.7")));
    assert_eq!(plans[1].since, START);

    for refused in [
        store
            .add_plan_version("none", &Seen::Whatever, &terms("0.7"), &told())
            .await
            .map(drop),
        store.set_plan(client.account, "none", &told()).await,
        store
            .set_plan(
                airouter_billing::AccountId::new(Uuid::now_v7()),
                "gold",
                &told(),
            )
            .await,
    ] {
        assert!(
            matches!(refused, Err(StoreError::NotFound { .. })),
            "{refused:?}"
        );
    }
}

/// A client that used an alias finds it in its generation, and not the upstream's name.
pub async fn a_generation_has_the_name_that_the_client_used(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000_000_000).await;
    let mut event = world.event(&client, "0.001");
    event.request.names = vec![ModelName {
        model: "test/model".to_owned(),
        name: "mine".to_owned(),
    }];
    let id = event.request.id;
    event.charges = vec![super::charge(client.balance(), 0, event.price.get())];
    world.commit(vec![event]).await;
    let found = world
        .store
        .generation(client.account, &id.to_string())
        .await;
    assert_eq!(found.unwrap().unwrap().model, "mine");
    world.assert_adds_up(1).await;
}
