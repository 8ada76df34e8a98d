//! Accounts, keys and changes.

use std::sync::Arc;

use airouter_auth::KeyHash;
use airouter_billing::event::Payment;
use airouter_billing::{AccountId, BudgetId, Nanos, Period, Quantity};
use uuid::Uuid;

use super::world::{START, World, new_key, new_person};
use crate::clients::{
    Access, Change, ChangePosition, MemberRole, ModelAccess, NewCap, NewMember, NewOrganization,
    RequestLimits, Role,
};
use crate::{Store, StoreError};

const DAILY_REQUESTS: NewCap = NewCap {
    quantity: Quantity::Requests,
    period: Period::Day,
    cap: 50,
};

const MONTHLY_DOLLAR: NewCap = NewCap {
    quantity: Quantity::Nanos,
    period: Period::Month,
    cap: 1_000_000_000,
};

/// A key is found by its hash, with everything that was stored of it; an unknown one is not.
pub async fn a_key_is_found_by_its_hash(store: Arc<dyn Store>) {
    let mut person = new_person(Payment::Prepaid);
    person.limits.tokens_per_minute = std::num::NonZeroU64::new(100_000);
    store.create_person(&person).await.unwrap();
    let mut key = new_key(Vec::new());
    key.models = ModelAccess::Only(vec!["a/b".to_owned(), "c/d:free".to_owned()]);
    key.limits.requests_per_minute = std::num::NonZeroU32::new(7);
    key.expires_at = Some(START.plus_seconds(60));
    store
        .create_key(person.account, None, &key, START)
        .await
        .unwrap();
    let found = store.key_by_hash(&key.hash).await.unwrap().unwrap();
    assert_eq!(found.key, key.id);
    assert_eq!(found.name, key.name);
    assert_eq!(found.preview, key.preview);
    assert_eq!(
        (found.account, found.payer),
        (person.account, person.account)
    );
    assert_eq!(found.payment, Payment::Prepaid);
    assert_eq!(found.models, key.models);
    assert_eq!(found.key_limits, key.limits);
    assert_eq!(found.account_limits, person.limits);
    assert_eq!(found.expires_at, key.expires_at);
    assert_eq!(found.access, Access::Granted);
    assert_eq!(found.plan.rule, airouter_billing::PriceRule::default_rule());
    let unknown = KeyHash::from_bytes([7; 32]);
    assert!(store.key_by_hash(&unknown).await.unwrap().is_none());
    store.ping().await.unwrap();
}

/// A key belongs to an account that exists, and an organization pays only for its members.
pub async fn a_key_of_an_unknown_account_is_refused(store: Arc<dyn Store>) {
    let nobody = AccountId::new(Uuid::now_v7());
    let refused = store
        .create_key(nobody, None, &new_key(Vec::new()), START)
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    let person = new_person(Payment::Prepaid);
    let other = new_person(Payment::Prepaid);
    store.create_person(&person).await.unwrap();
    store.create_person(&other).await.unwrap();
    let refused = store
        .create_key(
            person.account,
            Some(other.account),
            &new_key(Vec::new()),
            START,
        )
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

/// E-mail addresses are compared without regard to case.
pub async fn an_email_address_is_taken_once(store: Arc<dyn Store>) {
    let mut person = new_person(Payment::Metered);
    person.email = "Ada@Example.com".to_owned();
    store.create_person(&person).await.unwrap();
    let mut again = new_person(Payment::Metered);
    again.email = "ada@example.COM".to_owned();
    let refused = store.create_person(&again).await;
    assert!(matches!(refused, Err(StoreError::Exists { .. })));
    let found = store
        .person_by_email("ADA@example.com")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.user, found.account), (person.user, person.account));
    assert_eq!(found.payment, Payment::Metered);
    assert!(store.person_by_email("nobody").await.unwrap().is_none());
    // Nothing of the refused person was kept.
    assert!(store.balance(again.account).await.is_err());
}

/// Key caps first, then the tier's and the account's, then the balance; a metered account has no balance.
pub async fn a_key_has_the_budgets_of_its_payers_chain(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut person = new_person(Payment::Prepaid);
    person.tier = Some("free".to_owned());
    person.caps = vec![DAILY_REQUESTS];
    let client = world.client(person, vec![MONTHLY_DOLLAR]).await;
    let budgets = world.snapshot(&client).await.budgets;
    let kinds: Vec<_> = budgets
        .iter()
        .map(|budget| (budget.quantity, budget.period))
        .collect();
    assert_eq!(
        kinds,
        [
            (Quantity::Nanos, Period::Month),
            (Quantity::Nanos, Period::Month),
            (Quantity::Requests, Period::Day),
            (Quantity::Nanos, Period::None),
        ]
    );
    assert_eq!(world.free(budgets[0]).await, 1_000_000_000);
    assert_eq!(world.free(budgets[1]).await, 10_000_000_000);
    assert_eq!(world.free(budgets[2]).await, 50);
    assert_eq!(budgets[3].id, BudgetId::Balance(client.account));

    let mut metered = new_person(Payment::Metered);
    metered.tier = Some("admin".to_owned());
    let metered = world.client(metered, Vec::new()).await;
    assert!(world.snapshot(&metered).await.budgets.is_empty());

    let mut unknown = new_person(Payment::Metered);
    unknown.tier = Some("no such tier".to_owned());
    let refused = world.store.create_person(&unknown).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

/// A member's key is paid by the organization: its balance and the caps on the member.
pub async fn a_members_key_spends_from_the_organization(store: Arc<dyn Store>) {
    let organization = NewOrganization {
        account: AccountId::new(Uuid::now_v7()),
        name: "School".to_owned(),
        parent: None,
        payment: Payment::Prepaid,
        tier: None,
        caps: vec![DAILY_REQUESTS],
        limits: RequestLimits::default(),
        at: START,
    };
    store.create_organization(&organization).await.unwrap();
    let person = new_person(Payment::Metered);
    store.create_person(&person).await.unwrap();
    let member = NewMember {
        organization: organization.account,
        person: person.account,
        role: MemberRole::Member,
        caps: vec![MONTHLY_DOLLAR],
        at: START,
    };
    store.add_member(&member).await.unwrap();
    assert!(matches!(
        store.add_member(&member).await,
        Err(StoreError::Exists { .. })
    ));
    let key = new_key(Vec::new());
    store
        .create_key(person.account, Some(organization.account), &key, START)
        .await
        .unwrap();
    let found = store.key_by_hash(&key.hash).await.unwrap().unwrap();
    assert_eq!(found.account, person.account);
    assert_eq!(found.payer, organization.account);
    assert_eq!(found.payment, Payment::Prepaid);
    let quantities: Vec<_> = found.budgets.iter().map(|budget| budget.quantity).collect();
    assert_eq!(
        quantities,
        [Quantity::Nanos, Quantity::Requests, Quantity::Nanos]
    );
    assert_eq!(found.budgets[2].id, BudgetId::Balance(organization.account));
}

/// A revoked key is still found, and says so; there is nothing to revoke where there is no key.
pub async fn a_revoked_key_says_so(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let before = world
        .store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap();
    world.store.revoke_key(client.key, START).await.unwrap();
    assert_eq!(world.snapshot(&client).await.access, Access::Revoked);
    let changes = world.store.changes_since(&before.position).await.unwrap();
    assert_eq!(changes.changes, [Change::Key(client.key)]);
    let unknown = airouter_billing::ApiKeyId::new(Uuid::now_v7());
    let refused = world.store.revoke_key(unknown, START).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

/// Noting when a key was used is no change that caches must follow.
pub async fn use_of_keys_is_noted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let before = world
        .store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap();
    let later = START.plus_seconds(5);
    let used = [(client.key, later), (client.key, START)];
    world.store.keys_used(&used).await.unwrap();
    world.store.keys_used(&[]).await.unwrap();
    let after = world.store.changes_since(&before.position).await.unwrap();
    assert_eq!(after.changes, []);
}

/// What changed is listed once, oldest first, after the position that was asked for.
pub async fn changes_are_told_in_order(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let start = world
        .store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap();
    assert!(!start.overflow && start.changes.is_empty());
    let client = world.prepaid(0).await;
    world.adjust(&client, 5).await;
    let changes = world.store.changes_since(&start.position).await.unwrap();
    assert_eq!(
        changes.changes,
        [
            Change::Key(client.key),
            Change::Budget(BudgetId::Balance(client.account)),
        ]
    );
    assert_ne!(changes.position, start.position);
    let after = world.store.changes_since(&changes.position).await.unwrap();
    assert_eq!(after.changes, []);
    // What a request is charged is no change.
    world.lease(client.balance(), 5).await;
    let mut event = world.event(&client, "0.000000005");
    event.charges = vec![super::world::charge(client.balance(), 4, 0)];
    assert_eq!(event.price, Nanos::new(4));
    world.commit(vec![event]).await;
    let after = world.store.changes_since(&changes.position).await.unwrap();
    assert_eq!(after.changes, []);
}

/// Beyond 1,000 changes a cache starts anew.
pub async fn too_many_changes_are_an_overflow(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let start = world
        .store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap();
    let budget = BudgetId::Balance(client.account);
    for _ in 0..1_000 {
        world.store.recall(budget).await.unwrap();
    }
    let changes = world.store.changes_since(&start.position).await.unwrap();
    assert_eq!(changes.changes.len(), 1_000);
    assert!(!changes.overflow);
    world.store.recall(budget).await.unwrap();
    let overflow = world.store.changes_since(&start.position).await.unwrap();
    assert!(overflow.overflow);
    let after = world.store.changes_since(&overflow.position).await.unwrap();
    assert!(!after.overflow && after.changes.is_empty());
}

/// Whether there is an admin is known.
pub async fn an_admin_is_seen(store: Arc<dyn Store>) {
    store
        .create_person(&new_person(Payment::Metered))
        .await
        .unwrap();
    assert!(!store.has_admin().await.unwrap());
    let mut admin = new_person(Payment::Metered);
    admin.role = Role::Admin;
    store.create_person(&admin).await.unwrap();
    assert!(store.has_admin().await.unwrap());
}
