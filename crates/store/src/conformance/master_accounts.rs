//! Master accounts: what is known of them, and who is told when it changes.

use std::sync::Arc;

use airouter_billing::{Discount, DiscountBasis, MasterAccountId, Nanos};
use futures_util::future::join;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::world::{START, new_master, sealed_key, told as audit};
use crate::clients::{Change, ChangePosition};
use crate::master_accounts::{
    Agreement, CreditReading, MasterAccount, MasterAccountChange, MasterAccountKey,
    MasterAccountStatus, MostShare, NewMasterAccount, UpstreamKind, Weight,
};
use crate::{Seen, Store, StoreError};

/// Master accounts come back as they were added.
pub async fn master_accounts_are_kept_in_order(store: Arc<dyn Store>) {
    let compatible = NewMasterAccount {
        kind: UpstreamKind::Compatible,
        ..new_master("a")
    };
    let accounts = [new_master("b"), compatible];
    for account in &accounts {
        store.add_master_account(account, &audit()).await.unwrap();
    }
    let found = store.master_accounts().await.unwrap();
    assert_eq!(found.len(), 2);
    for (found, account) in found.iter().zip(&accounts) {
        assert_eq!(found.id, account.id);
        assert_eq!(found.name, account.name);
        assert_eq!(found.kind, account.kind);
        assert_eq!(found.base_url, account.base_url);
        assert_eq!(found.discount, account.discount);
        assert_eq!(found.status, MasterAccountStatus::Active);
        assert_eq!(found.weight, Weight::ONE);
        assert_eq!((found.most_share, &found.management_key), (None, &None));
        assert_eq!(found.agreement, Agreement::default());
        assert_eq!(found.credit, None);
        let first = MasterAccountKey {
            id: account.id.get(),
            key: account.key.clone(),
        };
        assert_eq!(found.keys, [first]);
    }
}

/// The same key is not a second account, nor a second key.
pub async fn a_key_is_of_one_master_account(store: Arc<dyn Store>) {
    let (first, second) = (new_master("a"), new_master("b"));
    for account in [&first, &second] {
        store.add_master_account(account, &audit()).await.unwrap();
    }
    let refused = store.add_master_account(&new_master("a"), &audit()).await;
    assert!(matches!(refused, Err(StoreError::Exists { .. })));
    let refused = store
        .add_master_account_key(second.id, &new_key("a"), &audit())
        .await;
    assert!(matches!(refused, Err(StoreError::Exists { .. })));
    let added = new_key("c");
    store
        .add_master_account_key(second.id, &added, &audit())
        .await
        .unwrap();
    let refused = store.add_master_account(&new_master("c"), &audit()).await;
    assert!(matches!(refused, Err(StoreError::Exists { .. })));
    assert_eq!(only(&store, first.id).await.keys.len(), 1);
    assert_eq!(only(&store, second.id).await.keys[1], added);
}

/// Keys come and go, the first one too; one that went may be another account's.
pub async fn keys_of_a_master_account_come_and_go(store: Arc<dyn Store>) {
    let (account, other) = (new_master("a"), new_master("z"));
    for account in [&account, &other] {
        store.add_master_account(account, &audit()).await.unwrap();
    }
    let (second, third) = (new_key("b"), new_key("c"));
    for key in [&second, &third] {
        store
            .add_master_account_key(account.id, key, &audit())
            .await
            .unwrap();
    }
    let of_another = store
        .remove_master_account_key(other.id, second.id, &audit())
        .await;
    assert!(matches!(of_another, Err(StoreError::NotFound { .. })));
    for key in [account.id.get(), second.id] {
        store
            .remove_master_account_key(account.id, key, &audit())
            .await
            .unwrap();
        let again = store
            .remove_master_account_key(account.id, key, &audit())
            .await;
        assert!(matches!(again, Err(StoreError::NotFound { .. })));
    }
    assert_eq!(only(&store, account.id).await.keys, [third]);
    let again = NewMasterAccount {
        name: "another name".to_owned(),
        ..new_master("a")
    };
    store.add_master_account(&again, &audit()).await.unwrap();
    let nobody = MasterAccountId::new(Uuid::now_v7());
    let refused = store
        .add_master_account_key(nobody, &new_key("d"), &audit())
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

/// Every property can be changed, and back; nothing else changes with it.
pub async fn a_master_account_changes(store: Arc<dyn Store>) {
    let (account, other) = (new_master("a"), new_master("b"));
    for account in [&account, &other] {
        store.add_master_account(account, &audit()).await.unwrap();
    }
    let changes = [
        MasterAccountChange::Name("second".to_owned()),
        MasterAccountChange::BaseUrl("https://elsewhere.test/v1".to_owned()),
        MasterAccountChange::Discount(
            Discount::new(Decimal::new(125, 3), DiscountBasis::InReportedCost).unwrap(),
        ),
        MasterAccountChange::Weight(Weight::new(7).unwrap()),
        MasterAccountChange::MostShare(MostShare::percent(40)),
        MasterAccountChange::Agreement(Agreement {
            reference: Some("2026-17".to_owned()),
            ends_at: Some(START.plus_seconds(86_400)),
        }),
        MasterAccountChange::ManagementKey(Some(sealed_key("m"))),
    ];
    let mut expected = only(&store, account.id).await;
    for status in [
        MasterAccountStatus::Draining,
        MasterAccountStatus::Paused,
        MasterAccountStatus::Active,
    ] {
        let mut changes = changes.to_vec();
        changes.push(MasterAccountChange::Status(status));
        for change in &changes {
            expected.apply(change);
        }
        store
            .change_master_account(account.id, &Seen::Whatever, &changes, &audit())
            .await
            .unwrap();
        assert_same(&only(&store, account.id).await, &expected);
    }
    let back = [
        MasterAccountChange::MostShare(None),
        MasterAccountChange::Agreement(Agreement::default()),
        MasterAccountChange::ManagementKey(None),
    ];
    for change in &back {
        expected.apply(change);
    }
    store
        .change_master_account(account.id, &Seen::Whatever, &back, &audit())
        .await
        .unwrap();
    assert_same(&only(&store, account.id).await, &expected);
    assert_eq!(only(&store, other.id).await.weight, Weight::ONE);
    let nobody = MasterAccountId::new(Uuid::now_v7());
    let refused = store
        .change_master_account(nobody, &Seen::Whatever, &back, &audit())
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

/// The last reading of an account's credit is kept, whichever comes last.
pub async fn the_latest_credit_is_kept(store: Arc<dyn Store>) {
    let account = new_master("a");
    store.add_master_account(&account, &audit()).await.unwrap();
    let reading = |used, pace, seconds| CreditReading {
        bought: Nanos::new(1_000),
        used: Nanos::new(used),
        pace,
        seen_at: START.plus_seconds(seconds),
    };
    let later = reading(1_200, Some(Nanos::new(50)), 60);
    for one in [reading(100, None, 0), later, reading(300, None, 30)] {
        store.record_credit(account.id, &one).await.unwrap();
    }
    let found = only(&store, account.id).await.credit;
    assert_eq!(found, Some(later));
    assert_eq!(later.left(), Nanos::new(-200));
    let nobody = MasterAccountId::new(Uuid::now_v7());
    store.record_credit(nobody, &later).await.unwrap();
}

/// Running replicas are told of every change, and not of what upstreams say of credit.
pub async fn changes_of_master_accounts_are_told(store: Arc<dyn Store>) {
    let account = new_master("a");
    store.add_master_account(&account, &audit()).await.unwrap();
    let mut position = ChangePosition::default();
    told(&store, &mut position).await;
    let key = new_key("b");
    store
        .add_master_account_key(account.id, &key, &audit())
        .await
        .unwrap();
    assert!(told(&store, &mut position).await);
    let change = MasterAccountChange::Status(MasterAccountStatus::Draining);
    store
        .change_master_account(account.id, &Seen::Whatever, &[change], &audit())
        .await
        .unwrap();
    assert!(told(&store, &mut position).await);
    store
        .remove_master_account_key(account.id, key.id, &audit())
        .await
        .unwrap();
    assert!(told(&store, &mut position).await);
    let reading = CreditReading {
        bought: Nanos::new(2),
        used: Nanos::new(1),
        pace: None,
        seen_at: START,
    };
    store.record_credit(account.id, &reading).await.unwrap();
    assert!(!told(&store, &mut position).await);
}

async fn told(store: &Arc<dyn Store>, position: &mut ChangePosition) -> bool {
    let changes = store.changes_since(position).await.unwrap();
    *position = changes.position;
    changes.changes.contains(&Change::MasterAccounts)
}

fn new_key(fingerprint: &str) -> MasterAccountKey {
    MasterAccountKey {
        id: Uuid::now_v7(),
        key: sealed_key(fingerprint),
    }
}

async fn only(store: &Arc<dyn Store>, id: MasterAccountId) -> MasterAccount {
    let all = store.master_accounts().await.unwrap();
    all.into_iter().find(|account| account.id == id).unwrap()
}

fn assert_same(found: &MasterAccount, expected: &MasterAccount) {
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}

/// Of two accounts that want one name at once, one gets it; of two that are renamed, too.
pub async fn a_name_is_of_one_master_account(store: Arc<dyn Store>) {
    let (first, mut second) = (new_master("a"), new_master("b"));
    second.name.clone_from(&first.name);
    let (audit, other) = (audit(), audit());
    let both = join(
        store.add_master_account(&first, &audit),
        store.add_master_account(&second, &other),
    )
    .await;
    let outcomes = [both.0, both.1];
    assert_eq!(
        outcomes.iter().filter(|added| added.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    let refused =
        |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::Exists { .. }));
    assert!(outcomes.iter().any(refused), "{outcomes:?}");

    let (third, fourth) = (new_master("c"), new_master("d"));
    for account in [&third, &fourth] {
        store.add_master_account(account, &audit).await.unwrap();
    }
    let rename = [MasterAccountChange::Name("one name".to_owned())];
    let any = Seen::Whatever;
    let both = join(
        store.change_master_account(third.id, &any, &rename, &audit),
        store.change_master_account(fourth.id, &any, &rename, &audit),
    )
    .await;
    let outcomes = [both.0, both.1];
    assert_eq!(
        outcomes.iter().filter(|changed| changed.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    assert!(outcomes.iter().any(refused), "{outcomes:?}");
}

/// However many keys are removed at once, an account that serves keeps one; a paused one does not.
pub async fn an_account_that_serves_keeps_a_key(store: Arc<dyn Store>) {
    let account = new_master("a");
    let audit = audit();
    store.add_master_account(&account, &audit).await.unwrap();
    let second = new_key("b");
    store
        .add_master_account_key(account.id, &second, &audit)
        .await
        .unwrap();
    let both = join(
        store.remove_master_account_key(account.id, account.id.get(), &audit),
        store.remove_master_account_key(account.id, second.id, &audit),
    )
    .await;
    let outcomes = [both.0, both.1];
    assert_eq!(
        outcomes.iter().filter(|removed| removed.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    let refused =
        |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::InUse { .. }));
    assert!(outcomes.iter().any(refused), "{outcomes:?}");

    let [last] = only(&store, account.id).await.keys.try_into().unwrap();
    let pause = [MasterAccountChange::Status(MasterAccountStatus::Paused)];
    store
        .change_master_account(account.id, &Seen::Whatever, &pause, &audit)
        .await
        .unwrap();
    store
        .remove_master_account_key(account.id, last.id, &audit)
        .await
        .unwrap();
}
