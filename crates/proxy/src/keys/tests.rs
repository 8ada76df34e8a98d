//! Snapshots that are loaded while something changes.

use std::sync::Mutex;

use airouter_auth::{AddressAccess, ClientKey};
use airouter_billing::event::Payment;
use airouter_billing::plan::PlanPolicy;
use airouter_billing::{Plan, PlanVersionId, PriceRule};
use airouter_store::clients::{Access, ModelAccess, RequestLimits};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::*;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}

/// Tells of each load that has begun, and answers when it is told what.
struct Gated {
    begun: mpsc::UnboundedSender<()>,
    answers: tokio::sync::Mutex<mpsc::UnboundedReceiver<KeySnapshot>>,
}

#[async_trait]
impl KeySource for Gated {
    async fn key_by_hash(&self, _hash: &KeyHash) -> Result<Option<KeySnapshot>, StoreError> {
        self.begun.send(()).unwrap();
        Ok(self.answers.lock().await.recv().await)
    }
}

/// A cache whose loads the test answers.
struct World {
    cache: KeyCache,
    hash: KeyHash,
    begun: Mutex<mpsc::UnboundedReceiver<()>>,
    answer: mpsc::UnboundedSender<KeySnapshot>,
}

impl World {
    fn new() -> Self {
        let (begun, has_begun) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let answers = tokio::sync::Mutex::new(answers);
        let source = Box::new(Gated { begun, answers });
        Self {
            cache: KeyCache::over(source, Arc::new(Noon)),
            hash: ClientKey::generate().unwrap().hash(),
            begun: Mutex::new(has_begun),
            answer,
        }
    }

    async fn get(&self) -> Access {
        self.cache.get(&self.hash).await.unwrap().unwrap().access
    }

    fn loads_since(&self) -> usize {
        let mut begun = self.begun.lock().unwrap();
        std::iter::from_fn(|| begun.try_recv().ok()).count()
    }
}

fn snapshot(key: ApiKeyId, access: Access) -> KeySnapshot {
    let account = AccountId::new(Uuid::from_u128(7));
    KeySnapshot {
        key,
        name: "test".to_owned(),
        preview: "sk-air-…".to_owned(),
        account,
        payer: account,
        payment: Payment::Metered,
        plan: Arc::new(Plan {
            version: PlanVersionId::new(1),
            rule: PriceRule::default_rule(),
            overrides: std::collections::HashMap::new(),
            policy: PlanPolicy::default(),
        }),
        budgets: Arc::from([]),
        key_limits: RequestLimits::default(),
        account_limits: RequestLimits::default(),
        models: ModelAccess::All,
        addresses: AddressAccess::All,
        access,
        expires_at: None,
    }
}

/// The key is revoked after the database has been asked for it, and the answer is from before.
async fn is_loaded_again_after(change: impl Fn(&KeyCache, ApiKeyId)) {
    let world = World::new();
    let key = ApiKeyId::new(Uuid::from_u128(1));
    let (before, ()) = tokio::join!(world.get(), async {
        assert_eq!(world.loads_since(), 1);
        change(&world.cache, key);
        world.answer.send(snapshot(key, Access::Granted)).unwrap();
    });
    assert_eq!(
        before,
        Access::Granted,
        "whoever asked before has what was so"
    );
    world.answer.send(snapshot(key, Access::Revoked)).unwrap();
    assert_eq!(world.get().await, Access::Revoked);
    assert_eq!(world.loads_since(), 1);
    // What was loaded with no change in between is kept.
    assert_eq!(world.get().await, Access::Revoked);
    assert_eq!(world.loads_since(), 0);
}

#[tokio::test]
async fn what_was_loaded_while_it_changed_is_loaded_again() {
    is_loaded_again_after(|cache, key| cache.forget_key(key)).await;
    is_loaded_again_after(|cache, _| cache.forget_account(AccountId::new(Uuid::from_u128(7))))
        .await;
    is_loaded_again_after(|cache, _| cache.forget_all()).await;
}

/// Whose key it is, is not known before it is loaded: any change makes it suspect.
#[tokio::test]
async fn what_was_loaded_while_something_else_changed_is_loaded_again() {
    let other = ApiKeyId::new(Uuid::from_u128(2));
    is_loaded_again_after(|cache, _| cache.forget_key(other)).await;
}

#[tokio::test]
async fn a_change_of_another_key_drops_nothing_that_was_loaded_before() {
    let world = World::new();
    let key = ApiKeyId::new(Uuid::from_u128(1));
    world.answer.send(snapshot(key, Access::Granted)).unwrap();
    assert_eq!(world.get().await, Access::Granted);
    world.cache.forget_key(ApiKeyId::new(Uuid::from_u128(2)));
    assert_eq!(world.get().await, Access::Granted);
    assert_eq!(world.loads_since(), 1);
}
