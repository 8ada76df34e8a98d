//! Credits, debits and recalls.

use std::sync::Arc;

use airouter_billing::{AccountId, BudgetId, Nanos};
use uuid::Uuid;

use super::world::{START, World};
use crate::clients::{Change, ChangePosition};
use crate::ledger::Adjustment;
use crate::{Store, StoreError};

/// A credit is money to spend.
pub async fn a_credit_is_booked(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let balance = world.adjust(&client, 7).await;
    assert_eq!(balance.balance, Nanos::new(7));
    assert_eq!(balance.lifetime_earned, Nanos::new(7));
    assert_eq!(balance, world.balance(&client).await);
    world.assert_adds_up(0).await;
}

/// A debit is never refused: it takes what nobody has reserved, and the rest is owed.
pub async fn a_debit_takes_what_is_free_and_the_rest_is_owed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(100).await;
    world.lease(client.balance(), 30).await;
    let balance = world.adjust(&client, -20).await;
    assert_eq!(balance.balance, Nanos::new(80));
    let balance = world.adjust(&client, -1_000).await;
    assert_eq!(balance.balance, Nanos::new(30));
    assert_eq!(balance.reserved, Nanos::new(30));
    assert_eq!(balance.lifetime_earned, Nanos::new(100));
    assert_eq!(balance.lifetime_spent, Nanos::ZERO);
    assert_eq!(world.free(client.balance()).await, 0);
    world.assert_adds_up(0).await;
}

/// There must be someone to credit.
pub async fn an_adjustment_of_nobody_is_refused(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let adjustment = Adjustment {
        account: AccountId::new(Uuid::now_v7()),
        amount: Nanos::new(1),
        reason: "test".to_owned(),
        actor: "command line".to_owned(),
        at: START,
    };
    let refused = world.store.adjust(&adjustment).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    world.assert_adds_up(0).await;
}

/// Replicas hear of a recall through the changes.
pub async fn a_recall_is_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let before = world
        .store
        .changes_since(&ChangePosition::default())
        .await
        .unwrap();
    let balance = BudgetId::Balance(AccountId::new(Uuid::now_v7()));
    let cap = BudgetId::Cap(Uuid::now_v7());
    world.store.recall(balance).await.unwrap();
    world.store.recall(cap).await.unwrap();
    let changes = world.store.changes_since(&before.position).await.unwrap();
    assert_eq!(
        changes.changes,
        [Change::Recall(balance), Change::Recall(cap)]
    );
}

/// Nothing is wrong with nothing.
pub async fn an_empty_ledger_adds_up(store: Arc<dyn Store>) {
    let verification = store.verify().await.unwrap();
    assert_eq!(verification.findings, []);
    assert_eq!((verification.events, verification.transactions), (0, 0));
}
