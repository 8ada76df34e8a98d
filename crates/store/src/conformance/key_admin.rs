//! Keys as their owners and the operator see and change them.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use airouter_auth::{AddressAccess, network};
use airouter_billing::event::Payment;
use airouter_billing::{
    AccountId, ApiKeyId, BudgetRef, Nanos, Period, Quantity, RequestId, Timestamp,
};
use uuid::Uuid;

use super::client_admin::entry;
use super::world::{Client, ENTRIES, START, World, charge, new_key, new_person};
use crate::audit::{AuditVerification, verify_audit};
use crate::client_admin::Changed;
use crate::clients::{
    Access, Change, ChangePosition, MemberRole, ModelAccess, NewMember, NewOrganization,
    RequestLimits,
};
use crate::key_admin::{KeyChange, KeyHolder, KeyQuery, KeyRecord, KeySettings, SpendLimit};
use crate::{Store, StoreError};

const LATER: Timestamp = START.plus_seconds(60);

fn limit(amount: i64, period: Period) -> Option<SpendLimit> {
    let amount = Nanos::new(amount);
    Some(SpendLimit { amount, period })
}

impl World {
    async fn key(&self, client: &Client) -> KeyRecord {
        let holder = KeyHolder::Owner(client.account);
        let found = self.store.key_of(holder, client.key, START).await;
        found.unwrap().expect("the key exists")
    }

    /// Changes a client's key from what it is.
    async fn set(&self, client: &Client, change: impl FnOnce(&mut KeySettings)) -> KeyRecord {
        let expected = self.key(client).await.settings;
        let mut settings = expected.clone();
        change(&mut settings);
        let changed = self.change(client, expected, settings).await;
        assert_eq!(changed, Changed::Yes);
        self.key(client).await
    }

    async fn change(
        &self,
        client: &Client,
        expected: KeySettings,
        settings: KeySettings,
    ) -> Changed {
        let change = KeyChange {
            expected,
            settings,
            audit: entry(AccountId::new(client.key.get()), "api_key.change"),
        };
        let holder = KeyHolder::Owner(client.account);
        let changed = self.store.change_key(holder, client.key, &change).await;
        changed.unwrap()
    }

    /// A request of the client that costs 40 nano-dollars, charged to all budgets that its key has now.
    async fn spend(&self, client: &Client) -> RequestId {
        let budgets = self.snapshot(client).await.budgets;
        let mut event = self.event(client, "0.00000005");
        for budget in budgets.iter() {
            let amount = match budget.quantity {
                Quantity::Nanos => 40,
                Quantity::Requests => 1,
            };
            assert_eq!(self.lease(*budget, amount).await.amount, amount);
            event.charges.push(charge(*budget, amount, 0));
        }
        let id = event.request.id;
        self.commit(vec![event]).await;
        id
    }

    async fn key_budget(&self, client: &Client, quantity: Quantity) -> BudgetRef {
        let budgets = self.snapshot(client).await.budgets;
        let found = budgets.iter().find(|budget| budget.quantity == quantity);
        *found.expect("the key has such a budget")
    }
}

/// An account's keys come in pages; only who has to do with one revokes it, and the change is told.
pub async fn keys_are_listed_and_revoked_by_their_owner(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let other = world.prepaid(0).await;
    let mut ids = vec![client.key];
    for _ in 0..4 {
        let key = new_key(Vec::new());
        let issued = entry(AccountId::new(key.id.get()), "api_key.create");
        let done = world.store.issue_key(client.account, None, &key, &issued);
        done.await.unwrap();
        ids.push(key.id);
    }
    ids.sort();
    let page = async |after, limit| {
        let query = KeyQuery {
            holder: KeyHolder::Owner(client.account),
            after,
            limit,
            now: START,
        };
        let keys = world.store.keys_of(&query).await.unwrap();
        keys.iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3).await, ids[..3]);
    assert_eq!(page(Some(ids[2]), 3).await, ids[3..]);
    assert_eq!(page(Some(ids[4]), 3).await, []);
    let revoke = async |account, key: ApiKeyId| {
        let mut entry = entry(AccountId::new(key.get()), "api_key.revoke");
        entry.at = LATER;
        let holder = KeyHolder::Owner(account);
        world.store.revoke_key_of(holder, key, &entry).await
    };
    let nobodys = ApiKeyId::new(Uuid::now_v7());
    for (account, key) in [(other.account, client.key), (client.account, nobodys)] {
        let refused = revoke(account, key).await;
        assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    }
    assert_eq!(world.snapshot(&client).await.access, Access::Granted);
    let before = world.store.changes_since(&ChangePosition::default()).await;
    let before = before.unwrap().position;
    revoke(client.account, client.key).await.unwrap();
    revoke(client.account, client.key).await.unwrap();
    assert_eq!(world.snapshot(&client).await.access, Access::Revoked);
    let changes = world.store.changes_since(&before).await.unwrap().changes;
    assert_eq!(changes, [Change::Key(client.key)]);
    assert_eq!(world.store.live_keys_of(client.account).await.unwrap(), 4);
    assert_eq!(world.key(&client).await.revoked_at, Some(LATER));
    assert_eq!(page(None, 10).await.len(), 5);
    // Four were issued, one was revoked, once.
    let verified = verify_audit(&*world.store).await.unwrap();
    assert_eq!(verified, AuditVerification::Whole(ENTRIES + 5));
}

/// Who pays for a key sees it too, and so does whoever asks for both; others don't.
pub async fn a_key_is_seen_by_its_owner_and_its_payer(store: Arc<dyn Store>) {
    let organization = NewOrganization {
        account: AccountId::new(Uuid::now_v7()),
        name: "School".to_owned(),
        parent: None,
        payment: Payment::Prepaid,
        tier: None,
        caps: Vec::new(),
        limits: RequestLimits::default(),
        at: START,
    };
    store.create_organization(&organization).await.unwrap();
    let person = new_person(Payment::Prepaid);
    store.create_person(&person).await.unwrap();
    let member = NewMember {
        organization: organization.account,
        person: person.account,
        role: MemberRole::Member,
        caps: Vec::new(),
        at: START,
    };
    store.add_member(&member).await.unwrap();
    let key = new_key(Vec::new());
    let payer = Some(organization.account);
    store
        .create_key(person.account, payer, &key, START)
        .await
        .unwrap();
    let is_seen = async |holder| {
        let found = store.key_of(holder, key.id, START).await.unwrap();
        let query = KeyQuery {
            holder,
            after: None,
            limit: 10,
            now: START,
        };
        let listed = store.keys_of(&query).await.unwrap();
        assert_eq!(listed.first(), found.as_ref());
        found.is_some()
    };
    let (owner, payer) = (person.account, organization.account);
    for holder in [
        KeyHolder::Owner(owner),
        KeyHolder::Payer(payer),
        KeyHolder::Either(owner),
        KeyHolder::Either(payer),
    ] {
        assert!(is_seen(holder).await, "{holder:?}");
    }
    for holder in [KeyHolder::Owner(payer), KeyHolder::Payer(owner)] {
        assert!(!is_seen(holder).await, "{holder:?}");
    }
}

/// Everything that can be set of a key is kept, and is what requests find; of two who change the same one must look again.
pub async fn a_key_is_changed_as_it_was_seen(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let before = world.key(&client).await.settings;
    let wanted = KeySettings {
        name: "another name".to_owned(),
        limits: RequestLimits {
            requests_per_minute: NonZeroU32::new(7),
            tokens_per_minute: NonZeroU64::new(8_000),
            concurrent_requests: NonZeroU32::new(9),
        },
        spend_limit: limit(1_000, Period::Week),
        requests_per_day: Some(10),
        models: ModelAccess::Only(vec!["a/b".to_owned(), "c/*".to_owned()]),
        addresses: AddressAccess::Only(Arc::from([
            network("192.0.2.0/24").unwrap(),
            network("2001:db8::/32").unwrap(),
        ])),
        expires_at: Some(LATER),
    };
    let seen = world.store.changes_since(&ChangePosition::default()).await;
    let seen = seen.unwrap().position;
    let changed = world.change(&client, before.clone(), wanted.clone()).await;
    assert_eq!(changed, Changed::Yes);
    let changes = world.store.changes_since(&seen).await.unwrap().changes;
    assert!(changes.contains(&Change::Key(client.key)));
    let key = world.key(&client).await;
    assert_eq!(key.settings, wanted);
    assert_eq!(key.left.spend, Some(Nanos::new(1_000)));
    assert_eq!(key.left.requests, Some(10));
    let found = world.snapshot(&client).await;
    assert_eq!(found.name, wanted.name);
    assert_eq!(found.key_limits, wanted.limits);
    assert_eq!(found.models, wanted.models);
    assert_eq!(found.addresses, wanted.addresses);
    assert_eq!(found.expires_at, wanted.expires_at);
    let kinds: Vec<_> = found
        .budgets
        .iter()
        .map(|budget| (budget.quantity, budget.period))
        .collect();
    assert_eq!(
        kinds,
        [
            (Quantity::Nanos, Period::Week),
            (Quantity::Requests, Period::Day),
            (Quantity::Nanos, Period::None),
        ]
    );
    let late = world.change(&client, before.clone(), before.clone()).await;
    assert_eq!(late, Changed::Conflict);
    assert_eq!(world.key(&client).await.settings, wanted);
    let lifted = world.change(&client, wanted, before.clone()).await;
    assert_eq!(lifted, Changed::Yes);
    assert_eq!(world.key(&client).await.settings, before);
    assert_eq!(world.snapshot(&client).await.budgets.len(), 1);
    assert_eq!(world.store.audit_log(ENTRIES, 10).await.unwrap().len(), 2);
    let change = KeyChange {
        expected: before.clone(),
        settings: before,
        audit: entry(client.account, "api_key.change"),
    };
    let nobodys = KeyHolder::Owner(AccountId::new(Uuid::now_v7()));
    let refused = world.store.change_key(nobodys, client.key, &change).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

/// A limit counts what the key has spent in the period that runs, with whichever limits, and with none.
pub async fn a_limit_counts_what_was_spent_before(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(10_000).await;
    world.spend(&client).await;
    let key = world
        .set(&client, |key| {
            key.spend_limit = limit(100, Period::Month);
            key.requests_per_day = Some(3);
        })
        .await;
    assert_eq!(key.left.spend, Some(Nanos::new(60)));
    assert_eq!(key.left.requests, Some(2));
    let month = world.key_budget(&client, Quantity::Nanos).await;
    assert_eq!(world.free(month).await, 60);
    let requests = world.key_budget(&client, Quantity::Requests).await;
    assert_eq!(world.free(requests).await, 2);
    world.spend(&client).await;
    let usage = world.store.key_usage(client.key, START).await.unwrap();
    assert_eq!(usage.limit.unwrap().remaining, Nanos::new(20));
    // More than that is nowhere to be had.
    assert_eq!(world.lease(month, 21).await.amount, 0);

    // Another reset is another budget, which knows of both requests; that it was lifted meanwhile changes nothing.
    let key = world
        .set(&client, |key| key.spend_limit = limit(100, Period::Day))
        .await;
    assert_eq!(key.left.spend, Some(Nanos::new(20)));
    world.set(&client, |key| key.spend_limit = None).await;
    world.spend(&client).await;
    let key = world
        .set(&client, |key| key.spend_limit = limit(130, Period::Month))
        .await;
    assert_eq!(key.left.spend, Some(Nanos::new(10)));
    assert_eq!(key.left.requests, Some(0));
    assert_eq!(world.free(month).await, 10);
    let key = world
        .set(&client, |key| key.spend_limit = limit(50, Period::None))
        .await;
    assert_eq!(key.left.spend, Some(Nanos::ZERO));
    let forever = world.key_budget(&client, Quantity::Nanos).await;
    assert_eq!(world.lease(forever, 1).await.amount, 0);

    // The next month begins with nothing spent.
    let next = Period::Month.end(START).unwrap();
    world
        .set(&client, |key| key.spend_limit = limit(130, Period::Month))
        .await;
    let holder = KeyHolder::Owner(client.account);
    let key = world.store.key_of(holder, client.key, next).await.unwrap();
    assert_eq!(key.unwrap().left.spend, Some(Nanos::new(130)));
    world.assert_adds_up(3).await;
}
