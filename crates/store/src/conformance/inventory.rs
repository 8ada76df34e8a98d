//! What the operator changes of master accounts, tiers and what is on sale is told in the audit log, and of two who change the
//! same the second one is refused.

use std::sync::Arc;

use airouter_billing::event::Payment;
use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::sale::{Alias, SaleState};
use airouter_billing::{MasterAccountId, Nanos};
use futures_util::future::join;
use serde_json::{Value, json};
use uuid::Uuid;

use super::prices::{listed, served};
use super::world::{START, World, new_key, new_master, new_person, sealed_key, told};
use crate::audit::{AuditEntry, AuditQuery, AuditRecord, COMMAND_LINE, named, verify_audit};
use crate::clients::NewPerson;
use crate::master_accounts::{MasterAccount, MasterAccountChange, MasterAccountKey, Weight};
use crate::prices::PriceProvider;
use crate::sale::described_alias;
use crate::schedule::{MOST_SCHEDULED, SCHEDULE, ScheduledVersion};
use crate::{Seen, Store, StoreError};

fn entry(action: &str, subject: Uuid) -> AuditEntry {
    AuditEntry::new(COMMAND_LINE, action, subject, START)
}

fn terms(factor: &str) -> PlanTerms {
    PlanTerms::from_json(&format!(
        r#"{{"rule":{{"rule":"percent_of_list","factor":"{factor}"}}}}"#
    ))
    .unwrap()
}

/// The last entry, of a log that is whole.
async fn last(store: &Arc<dyn Store>) -> AuditRecord {
    verify_audit(&**store).await.unwrap();
    let head = store.audit_head().await.unwrap();
    let log = store.audit_log(head.number - 1, 10).await.unwrap();
    assert_eq!(log.len(), 1);
    log[0].clone()
}

fn read(text: Option<&String>) -> Value {
    serde_json::from_str(text.unwrap()).unwrap()
}

/// What the last entry says it was, and is.
async fn told_last(store: &Arc<dyn Store>) -> (Value, Value) {
    let entry = last(store).await.entry;
    (read(entry.before.as_ref()), read(entry.after.as_ref()))
}

async fn master(store: &Arc<dyn Store>, id: MasterAccountId) -> MasterAccount {
    let accounts = store.master_accounts().await.unwrap();
    accounts.into_iter().find(|one| one.id == id).unwrap()
}

/// Whatever is done to a master account has its entry, with what differs; a key is never in it.
pub async fn changes_of_master_accounts_are_audited(store: Arc<dyn Store>) {
    let new = new_master("a");
    let id = new.id.get();
    let added = entry("master_account.add", id);
    store.add_master_account(&new, &added).await.unwrap();
    let record = last(&store).await.entry;
    assert_eq!(
        (record.action.as_str(), record.subject),
        ("master_account.add", id)
    );
    let after = read(record.after.as_ref());
    assert_eq!((&record.before, &after["name"]), (&None, &json!(new.name)));

    let change = [MasterAccountChange::Weight(Weight::new(7).unwrap())];
    let audit = entry("master_account.change", id);
    let changed = store.change_master_account(new.id, &Seen::Whatever, &change, &audit);
    changed.await.unwrap();
    let (before, after) = told_last(&store).await;
    assert_eq!(before, json!({"master_account": new.name, "weight": 1}));
    assert_eq!(after, json!({"master_account": new.name, "weight": 7}));

    let key = MasterAccountKey {
        id: Uuid::now_v7(),
        key: sealed_key("b"),
    };
    store
        .add_master_account_key(new.id, &key, &audit)
        .await
        .unwrap();
    let (before, after) = told_last(&store).await;
    assert_eq!(before["keys"].as_array().unwrap().len(), 1);
    assert_eq!(after["keys"].as_array().unwrap().len(), 2);
    store
        .remove_master_account_key(new.id, key.id, &audit)
        .await
        .unwrap();
    assert_eq!(told_last(&store).await.1["keys"], before["keys"]);

    // What is refused leaves no entry.
    let head = store.audit_head().await.unwrap();
    let again = store.add_master_account(&new, &audit).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    let gone = store
        .remove_master_account_key(new.id, key.id, &audit)
        .await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })));
    assert_eq!(store.audit_head().await.unwrap(), head);
}

/// Who has not seen the last change of a master account does not overwrite it.
pub async fn a_master_account_is_changed_as_it_was_seen(store: Arc<dyn Store>) {
    let new = new_master("a");
    store.add_master_account(&new, &told()).await.unwrap();
    let seen = Seen::This(master(&store, new.id).await.described());
    let weight = |weight| [MasterAccountChange::Weight(Weight::new(weight).unwrap())];
    let change = async |change: [MasterAccountChange; 1]| {
        let audit = told();
        let changed = store.change_master_account(new.id, &seen, &change, &audit);
        changed.await
    };
    change(weight(2)).await.unwrap();
    let refused = change(weight(3)).await;
    assert!(matches!(refused, Err(StoreError::ChangedMeanwhile)));
    assert_eq!(master(&store, new.id).await.weight.get(), 2);
}

/// Of models, aliases and the default what was decided before is told, and an alias is changed as it was seen.
pub async fn what_is_on_sale_is_audited_and_changed_as_seen(store: Arc<dyn Store>) {
    let audit = entry("model.set", named("model", "a/b"));
    for (state, before) in [
        (SaleState::Hidden, None),
        (SaleState::Disabled, Some("hidden")),
    ] {
        store.set_sale_state("a/b", state, &audit).await.unwrap();
        let record = last(&store).await.entry;
        assert_eq!(record.subject, named("model", "a/b"));
        let was = before.map(|state| json!({"model": "a/b", "state": state}));
        assert_eq!(record.before.map(|text| read(Some(&text))), was);
        let is = json!({"model": "a/b", "state": state.name()});
        assert_eq!(read(record.after.as_ref()), is);
    }

    let alias = |model: &str| Alias::new("fast".to_owned(), vec![model.to_owned()]).unwrap();
    let set = async |model: &str, seen: &Seen| store.set_alias(&alias(model), seen, &audit).await;
    set("a/b", &Seen::Nothing).await.unwrap();
    let refused = set("c/d", &Seen::Nothing).await;
    assert!(matches!(refused, Err(StoreError::ChangedMeanwhile)));
    let seen = Seen::This(described_alias(&alias("a/b")));
    set("c/d", &seen).await.unwrap();
    let refused = set("e/f", &seen).await;
    assert!(matches!(refused, Err(StoreError::ChangedMeanwhile)));
    let (before, after) = told_last(&store).await;
    assert_eq!(before, json!({"alias": "fast", "models": ["a/b"]}));
    assert_eq!(after, json!({"alias": "fast", "models": ["c/d"]}));
    store.remove_alias("fast", &audit).await.unwrap();
    let record = last(&store).await.entry;
    assert_eq!((read(record.before.as_ref()), record.after), (after, None));

    for (model, before) in [(Some("x"), None), (None, Some("x"))] {
        store.set_default_model(model, &audit).await.unwrap();
        let (was, is) = told_last(&store).await;
        assert_eq!(was["default_model"], json!(before));
        assert_eq!(is["default_model"], json!(model));
    }
}

/// A plan gets its next version from whoever has seen the last one; every version stays.
pub async fn a_plan_is_changed_as_it_was_seen(store: Arc<dyn Store>) {
    let audit = entry("plan.set", named("plan", "gold"));
    let first = store.create_plan("gold", &terms("0.9"), &audit).await;
    let first = first.unwrap();
    let plans = store.plans().await.unwrap();
    let gold = plans.iter().find(|plan| plan.name == "gold").unwrap();
    let seen = Seen::This(gold.described());
    let set = async |factor: &str, seen: &Seen| {
        let terms = terms(factor);
        let added = store.add_plan_version("gold", seen, &terms, &audit);
        added.await
    };
    let second = set("0.8", &seen).await.unwrap();
    let refused = set("0.7", &seen).await;
    assert!(matches!(refused, Err(StoreError::ChangedMeanwhile)));
    let (before, after) = told_last(&store).await;
    assert_eq!(
        (&before["version"], &after["version"]),
        (&json!(first.get()), &json!(second.get()))
    );
    assert_eq!(after["terms"], json!(terms("0.8")));

    let versions = store.plan_versions("gold", None, 10).await.unwrap();
    let said: Vec<_> = versions
        .iter()
        .map(|version| (version.version, &version.terms))
        .collect();
    assert_eq!(said, [(second, &terms("0.8")), (first, &terms("0.9"))]);
    let older = store.plan_versions("gold", Some(second), 10).await.unwrap();
    assert_eq!(older, versions[1..]);
    assert!(
        store
            .plan_versions("none", None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

/// What is scheduled comes when its time has come, once, in its order, and not before; what was taken back does not.
pub async fn a_scheduled_version_comes_in_its_time(store: Arc<dyn Store>) {
    let audit = entry("plan.schedule", named("plan", "default"));
    let scheduled = |seconds: i64, factor: &str| ScheduledVersion {
        id: Uuid::now_v7(),
        plan: "default".to_owned(),
        effective_from: START.plus_seconds(seconds),
        terms: terms(factor),
    };
    let (later, sooner, never) = (
        scheduled(20, "0.7"),
        scheduled(10, "0.9"),
        scheduled(10, "0.5"),
    );
    for version in [&later, &sooner, &never] {
        store.schedule_version(version, &audit).await.unwrap();
    }
    let cancelled = store.cancel_scheduled_version("default", never.id, &audit);
    cancelled.await.unwrap();
    let again = store
        .cancel_scheduled_version("default", never.id, &audit)
        .await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
    let waiting = store.scheduled_versions("default").await.unwrap();
    assert_eq!(waiting, [sooner.clone(), later.clone()]);

    let in_force = async || store.plans().await.unwrap()[0].terms.clone();
    let before = in_force().await;
    let at = |seconds| store.put_due_versions_in_force(START.plus_seconds(seconds));
    assert_eq!(at(9).await.unwrap(), 0);
    assert_eq!(in_force().await, before);
    assert_eq!(at(10).await.unwrap(), 1);
    assert_eq!(in_force().await, terms("0.9"));
    assert_eq!(last(&store).await.entry.actor, SCHEDULE);
    assert_eq!(at(11).await.unwrap(), 0);
    let (one, other) = join(at(30), at(30)).await;
    assert_eq!(one.unwrap() + other.unwrap(), 1);
    assert_eq!(in_force().await, terms("0.7"));
    assert_eq!(
        store
            .plan_versions("default", None, 10)
            .await
            .unwrap()
            .len(),
        3
    );

    for _ in 0..MOST_SCHEDULED {
        let version = scheduled(100, "0.9");
        store.schedule_version(&version, &audit).await.unwrap();
    }
    let too_many = store.schedule_version(&scheduled(100, "0.9"), &audit).await;
    assert!(matches!(too_many, Err(StoreError::InUse { .. })));
    let mut of_nobody = scheduled(100, "0.9");
    of_nobody.plan = "none".to_owned();
    let refused = store.schedule_version(&of_nobody, &audit).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

/// A tier's limit is the cap of its accounts, and a tier that somebody has stays.
pub async fn a_tier_is_changed_as_it_was_seen(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let audit = entry("tier.set", named("tier", "gold"));
    let usd = |dollars| Some(Nanos::from_usd(dollars).unwrap());
    store
        .set_tier("gold", &Seen::Nothing, usd(5), &audit)
        .await
        .unwrap();
    let taken = store.set_tier("gold", &Seen::Nothing, usd(6), &audit).await;
    assert!(matches!(taken, Err(StoreError::ChangedMeanwhile)));
    let tier = async || {
        let tiers = store.tiers().await.unwrap();
        tiers.into_iter().find(|tier| tier.name == "gold")
    };
    let person = NewPerson {
        tier: Some("gold".to_owned()),
        ..new_person(Payment::Metered)
    };
    let client = world.client(person, Vec::new()).await;
    let seen = Seen::This(tier().await.unwrap().described());
    assert_eq!(world.snapshot(&client).await.budgets.len(), 1);
    store.set_tier("gold", &seen, None, &audit).await.unwrap();
    // Without a limit there is no budget.
    assert!(world.snapshot(&client).await.budgets.is_empty());
    let (before, after) = told_last(&store).await;
    assert_eq!(before, json!({"tier": "gold", "monthly_limit": "5"}));
    assert_eq!(after, json!({"tier": "gold", "monthly_limit": null}));
    let late = store.set_tier("gold", &seen, usd(7), &audit).await;
    assert!(matches!(late, Err(StoreError::ChangedMeanwhile)));
    assert_eq!(tier().await.unwrap().accounts, 1);

    let refused = store.remove_tier("gold", &audit).await;
    assert!(matches!(refused, Err(StoreError::InUse { .. })));
    store
        .set_tier("iron", &Seen::Nothing, None, &audit)
        .await
        .unwrap();
    store.remove_tier("iron", &audit).await.unwrap();
    let again = store.remove_tier("iron", &audit).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
}

/// A price table that the operator sets is told, and every version of a model's prices is found.
pub async fn prices_have_a_history(store: Arc<dyn Store>) {
    let account = MasterAccountId::new(Uuid::now_v7());
    let audit = entry("master_account.set_prices", account.get());
    let model = |price: &str| served(listed("acme/small", price), "small");
    for (price, new) in [("0.001", 1), ("0.001", 0), ("0.002", 1)] {
        let set = store
            .set_price_table(account, &[model(price)], &audit)
            .await;
        assert_eq!(set.unwrap(), new);
        let after = read(last(&store).await.entry.after.as_ref());
        assert_eq!(after, json!({"models": 1, "new_prices": new}));
    }
    let history = store.price_history("acme/small", None, 10).await.unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(
        history[0].model.provider,
        PriceProvider::Compatible(account)
    );
    assert_eq!((history[0].is_active, history[1].is_active), (true, false));
    assert_eq!(history[0].in_force_from, START);
    let version = history[0].model.prices.version;
    let older = store.price_history("acme/small", Some(version), 10).await;
    assert_eq!(older.unwrap().len(), 1);
    assert!(
        store
            .price_history("acme/large", None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

/// People and keys that the operator makes, and plans that they are given, are told.
pub async fn what_the_operator_makes_is_audited(store: Arc<dyn Store>) {
    let person = new_person(Payment::Prepaid);
    let subject = person.account.get();
    let audit = entry("client.create", subject);
    store.create_client(&person, &audit).await.unwrap();
    assert_eq!(last(&store).await.entry, audit);
    let head = store.audit_head().await.unwrap();
    let again = store.create_client(&person, &audit).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    assert_eq!(store.audit_head().await.unwrap(), head);
    let key = new_key(Vec::new());
    let made = entry("client.create_key", subject);
    store
        .create_client_key(person.account, &key, &made)
        .await
        .unwrap();
    assert_eq!(last(&store).await.entry, made);
    assert!(store.key_by_hash(&key.hash).await.unwrap().is_some());
    store
        .create_plan("gold", &terms("0.9"), &told())
        .await
        .unwrap();
    let given = entry("client.change", subject);
    store
        .set_plan(person.account, "gold", &given)
        .await
        .unwrap();
    let (before, after) = told_last(&store).await;
    assert_eq!(
        (before, after),
        (json!({"plan": "default"}), json!({"plan": "gold"}))
    );
}

/// The log is searched by what was done, to what, by whom and when.
pub async fn the_audit_log_is_searched(store: Arc<dyn Store>) {
    let entries = [
        ("client.credit", "a", 0),
        ("clients.other", "a", 10),
        ("client.debit", "b", 20),
        ("plan.set", "b", 30),
    ];
    for (action, actor, seconds) in entries {
        let subject = named("test", action);
        let at = START.plus_seconds(seconds);
        let audit = AuditEntry::new(actor, action, subject, at);
        let set = store.set_sale_state("a/b", SaleState::Hidden, &audit);
        set.await.unwrap();
    }
    let found = async |query: AuditQuery| -> Vec<i64> {
        let query = AuditQuery { limit: 10, ..query };
        let found = store.search_audit_log(&query).await.unwrap();
        found.iter().map(|record| record.number).collect()
    };
    let all = AuditQuery::default();
    assert_eq!(found(all.clone()).await, [1, 2, 3, 4]);
    let query = AuditQuery {
        action: Some("client".to_owned()),
        ..all.clone()
    };
    assert_eq!(found(query).await, [1, 3]);
    let query = AuditQuery {
        action: Some("plan.set".to_owned()),
        ..all.clone()
    };
    assert_eq!(found(query).await, [4]);
    let query = AuditQuery {
        actor: Some("a".to_owned()),
        after: 1,
        ..all.clone()
    };
    assert_eq!(found(query).await, [2]);
    let query = AuditQuery {
        subject: Some(named("test", "client.debit")),
        ..all.clone()
    };
    assert_eq!(found(query).await, [3]);
    let query = AuditQuery {
        from: Some(START.plus_seconds(10)),
        until: Some(START.plus_seconds(30)),
        ..all
    };
    assert_eq!(found(query).await, [2, 3]);
}
