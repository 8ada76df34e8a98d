//! A small world to test in: a master account, clients with keys, and requests that they made.

use std::sync::Arc;

use airouter_auth::{AddressAccess, ClientKey, KeyHash, SealedSecret};
use airouter_billing::budget::BudgetSlot;
use airouter_billing::correction::Answers;
use airouter_billing::decimal::parse_decimal;
use airouter_billing::event::{Delivery, Ending, LossReason, Payment, RequestFacts, Served};
use airouter_billing::lease::Grant;
use airouter_billing::pricing::{Terms, price};
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{
    AccountId, ApiKeyId, BudgetId, BudgetRef, Discount, DiscountBasis, MasterAccountId, Nanos,
    Outcome, Period, Quantity, RequestId, Timestamp, TokenCounts, Usage, UsageEvent, UserId,
};
use uuid::Uuid;

use crate::Store;
use crate::audit::{AuditEntry, COMMAND_LINE};
use crate::clients::{
    Balance, KeySnapshot, ModelAccess, NewCap, NewKey, NewPerson, RequestLimits, Role,
};
use crate::leases::{LeaseRequest, ReplicaId};
use crate::ledger::{Adjustment, Finding};
use crate::master_accounts::{NewMasterAccount, SealedKey, UpstreamKind};
use crate::settlements::{CommitBatch, PendingRequest};

/// When everything begins: 2026-11-20T12:00:00Z, a Friday.
pub const START: Timestamp = Timestamp::from_micros(1_795_176_000_000_000);

/// A store with one replica and one master account.
pub struct World {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The replica.
    pub replica: ReplicaId,
    /// The master account; its discount is 70 %.
    pub master: MasterAccountId,
}

/// An account with a key.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Who pays.
    pub account: AccountId,
    /// How.
    pub payment: Payment,
    /// The key.
    pub key: ApiKeyId,
    /// Its hash.
    pub hash: KeyHash,
}

impl Client {
    /// The client's balance as a budget.
    pub fn balance(&self) -> BudgetRef {
        BudgetRef {
            id: BudgetId::Balance(self.account),
            quantity: Quantity::Nanos,
            period: Period::None,
        }
    }
}

/// A discount of 70 %, of credits bought below par.
pub(crate) fn discount() -> Discount {
    Discount::from_percent(
        parse_decimal("70").unwrap(),
        DiscountBasis::CreditsBoughtBelowPar,
    )
    .unwrap()
}

/// A key to be stored, without limits.
pub(crate) fn new_key(caps: Vec<NewCap>) -> NewKey {
    let key = ClientKey::generate().unwrap();
    NewKey {
        id: ApiKeyId::new(Uuid::now_v7()),
        hash: key.hash(),
        preview: key.preview(),
        name: "test".to_owned(),
        limits: RequestLimits::default(),
        caps,
        models: ModelAccess::All,
        addresses: AddressAccess::All,
        expires_at: None,
    }
}

/// A person to be created, with an e-mail address of its own.
pub fn new_person(payment: Payment) -> NewPerson {
    let account = Uuid::now_v7();
    NewPerson {
        user: UserId::new(Uuid::now_v7()),
        account: AccountId::new(account),
        email: format!("{}@example.com", account.simple()),
        name: "Ada".to_owned(),
        password_hash: None,
        role: Role::Client,
        locale: Some("en".to_owned()),
        utm_source: None,
        signup_address: None,
        payment,
        tier: None,
        caps: Vec::new(),
        limits: RequestLimits::default(),
        at: START,
    }
}

/// The fingerprint of the key of a world's master account.
const WORLDS: &str = "f00d";

/// A master account to be added.
pub(crate) fn new_master(fingerprint: &str) -> NewMasterAccount {
    NewMasterAccount {
        id: MasterAccountId::new(Uuid::now_v7()),
        name: match fingerprint {
            WORLDS => "main".to_owned(),
            other => format!("main {other}"),
        },
        kind: UpstreamKind::OpenRouter,
        base_url: "https://openrouter.ai/api/v1".to_owned(),
        key: sealed_key(fingerprint),
        discount: discount(),
    }
}

/// A key that no encryption key has sealed.
pub(crate) fn sealed_key(fingerprint: &str) -> SealedKey {
    SealedKey {
        sealed: SealedSecret::from_bytes(b"sealed".to_vec()),
        fingerprint: fingerprint.to_owned(),
    }
}

/// What a request takes from a budget that it was admitted on at [`START`].
pub fn charge(budget: BudgetRef, from_lease: i64, excess: i64) -> BudgetCharge {
    BudgetCharge {
        slot: budget.slot(START),
        quantity: budget.quantity,
        from_lease,
        excess,
    }
}

impl World {
    /// Registers the replica and adds the master account.
    pub async fn new(store: Arc<dyn Store>) -> Self {
        let master = new_master(WORLDS);
        store.add_master_account(&master, &told()).await.unwrap();
        let replica = store.register_replica(START).await.unwrap();
        Self {
            store,
            replica,
            master: master.id,
        }
    }

    /// A prepaid person with so much credit, and a key.
    pub async fn prepaid(&self, credit: i64) -> Client {
        let client = self.client(new_person(Payment::Prepaid), Vec::new()).await;
        if credit != 0 {
            self.adjust(&client, credit).await;
        }
        client
    }

    /// A person and a key with these caps.
    pub async fn client(&self, person: NewPerson, key_caps: Vec<NewCap>) -> Client {
        self.store.create_person(&person).await.unwrap();
        let key = new_key(key_caps);
        self.store
            .create_key(person.account, None, &key, START)
            .await
            .unwrap();
        Client {
            account: person.account,
            payment: person.payment,
            key: key.id,
            hash: key.hash,
        }
    }

    /// Credits or debits a client.
    pub async fn adjust(&self, client: &Client, amount: i64) -> Balance {
        let adjustment = Adjustment {
            account: client.account,
            amount: Nanos::new(amount),
            reason: "test".to_owned(),
            actor: "command line".to_owned(),
            at: START,
        };
        self.store.adjust(&adjustment).await.unwrap()
    }

    /// What the store knows of the client's key.
    pub async fn snapshot(&self, client: &Client) -> KeySnapshot {
        let found = self.store.key_by_hash(&client.hash).await.unwrap();
        found.expect("the key exists")
    }

    /// The client's balance.
    pub async fn balance(&self, client: &Client) -> Balance {
        self.store.balance(client.account).await.unwrap()
    }

    /// Leases exactly `amount` of a budget, if it is there.
    pub async fn lease(&self, budget: BudgetRef, amount: i64) -> Grant {
        let request = LeaseRequest {
            slot: self.slot(budget),
            at_least: amount,
            wish: amount,
        };
        self.store
            .lease(self.replica, request, START)
            .await
            .unwrap()
            .grant
    }

    /// What is free of a budget.
    pub async fn free(&self, budget: BudgetRef) -> i64 {
        self.lease(budget, 0).await.free
    }

    /// A charged request with this list cost in USD, not charged to any budget yet.
    pub fn event(&self, client: &Client, list_cost: &str) -> UsageEvent {
        self.event_at(client, list_cost, START)
    }

    /// The same, finished at `at`.
    pub fn event_at(&self, client: &Client, list_cost: &str, at: Timestamp) -> UsageEvent {
        let request = self.facts(client);
        let served = self.served();
        let tokens = TokenCounts {
            prompt: 1_000,
            completion: 200,
            cached: 128,
            ..TokenCounts::default()
        };
        let reported_cost = parse_decimal(list_cost).unwrap();
        let usage = Usage {
            tokens,
            reported_cost: Some(reported_cost),
            inference: Inference::Credits,
        };
        let terms = Terms {
            discount: served.discount,
            rule: &request.rule,
        };
        let priced = price(&usage, CostSource::Reported, terms, None, at).unwrap();
        UsageEvent {
            tokens,
            reported_cost,
            source: priced.source,
            inference: usage.inference,
            list_cost: priced.list_cost,
            cost: priced.cost,
            price: priced.price,
            outcome: Outcome::Charged,
            ending: Ending::Complete,
            finished_at: at,
            first_byte_micros: Some(1_500),
            charges: Vec::new(),
            request,
            served,
        }
    }

    fn facts(&self, client: &Client) -> RequestFacts {
        RequestFacts {
            id: RequestId::new(Uuid::now_v7()),
            api_key: client.key,
            payer: client.account,
            payment: client.payment,
            requested_model: "test/model".to_owned(),
            model_pricing: None,
            plan_version: airouter_billing::PlanVersionId::new(1),
            rule: airouter_billing::PriceRule::default_rule(),
            fallback_rules: Vec::new(),
            names: Vec::new(),
            delivery: Delivery::Streamed,
            admitted_at: START,
            hold: Nanos::new(1_000_000),
        }
    }

    fn served(&self) -> Served {
        Served {
            master_account: self.master,
            discount: discount(),
            generation_id: Some(format!("gen-{}", Uuid::now_v7().simple())),
            model: Some("test/model-2026".to_owned()),
            provider: Some("Test".to_owned()),
        }
    }

    /// A request whose usage is not known.
    pub fn pending(&self, client: &Client, holds: Vec<BudgetCharge>) -> PendingRequest {
        PendingRequest {
            request: self.facts(client),
            served: self.served(),
            reason: airouter_billing::recovery::PendingReason::InFlight,
            holds,
            since: START,
            claim: None,
        }
    }

    /// Commits events.
    pub async fn commit(&self, events: Vec<UsageEvent>) {
        let batch = CommitBatch {
            events,
            ..CommitBatch::default()
        };
        self.store
            .commit(self.replica, &batch, START)
            .await
            .unwrap();
    }

    /// A request of a client with this list cost that was booked as a crash's loss, and then corrected.
    pub async fn corrected(&self, client: &Client, list_cost: &str) -> UsageEvent {
        let mut event = self.event(client, list_cost);
        event.charges = vec![charge(client.balance(), 0, event.price.get())];
        self.commit(vec![lost(event.clone(), LossReason::Crash)])
            .await;
        let batch = CommitBatch {
            events: vec![event.clone()],
            answers: Answers::Acknowledged,
            ..CommitBatch::default()
        };
        let committed = self.store.commit(self.replica, &batch, START).await;
        assert_eq!(committed.unwrap().corrected.len(), 1);
        event
    }

    /// What does not add up.
    pub async fn findings(&self) -> Vec<Finding> {
        self.store.verify().await.unwrap().findings
    }

    /// Panics when something does not add up, or when not exactly so many events were looked at.
    pub async fn assert_adds_up(&self, events: u64) {
        let verification = self.store.verify().await.unwrap();
        assert_eq!(verification.findings, []);
        assert_eq!(verification.events, events);
    }

    /// A budget in the period that contains [`START`].
    pub fn slot(&self, budget: BudgetRef) -> BudgetSlot {
        budget.slot(START)
    }
}

/// An event as a loss: the client pays nothing.
pub(crate) fn lost(mut event: UsageEvent, reason: LossReason) -> UsageEvent {
    event.price = Nanos::ZERO;
    event.outcome = Outcome::Lost(reason);
    event
}

/// What making a world leaves in the audit log: its master account.
pub(crate) const ENTRIES: i64 = 1;

/// What the audit log is told where a test does not look at it.
pub(crate) fn told() -> AuditEntry {
    AuditEntry::new(COMMAND_LINE, "test", Uuid::nil(), START)
}
