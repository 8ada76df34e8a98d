//! This process among the replicas: its number, and how long it may spend from its leases.

use std::sync::Arc;
use std::time::Instant;

use airouter_billing::Timestamp;
use airouter_billing::tenure::{RENEW_EVERY_SECONDS, Tenure};
use airouter_store::leases::ReplicaId;
use airouter_store::{Store, StoreError};
use arc_swap::ArcSwap;

use crate::clock::Clock;

/// As what this process is registered now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    pub(crate) id: ReplicaId,
    pub(crate) tenure: Tenure,
    renewed: Timestamp,
}

/// This process as the database knows it.
pub struct Replica {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    started: (Timestamp, Instant),
    membership: ArcSwap<Membership>,
    /// Registering anew is for one task at a time.
    registering: tokio::sync::Mutex<()>,
}

impl Replica {
    /// Registers this process.
    pub async fn register(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        let started = (clock.now(), Instant::now());
        let id = store.register_replica(clock.now()).await?;
        let membership = Membership {
            id,
            tenure: Tenure::since(started.0),
            renewed: started.0,
        };
        Ok(Arc::new(Self {
            store,
            clock,
            started,
            membership: ArcSwap::from_pointee(membership),
            registering: tokio::sync::Mutex::default(),
        }))
    }

    /// The number that it has now.
    pub fn id(&self) -> ReplicaId {
        self.membership.load().id
    }

    pub(crate) fn membership(&self) -> Membership {
        **self.membership.load()
    }

    /// The time for what must not jump: ends of leases, idleness, refusals.
    pub(crate) fn steady_now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.1.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.started.0.as_micros().saturating_add(elapsed))
    }

    /// Whether its leases should be renewed by now.
    pub(crate) fn renewal_is_due(&self) -> bool {
        let membership = self.membership();
        self.steady_now() >= membership.renewed.plus_seconds(RENEW_EVERY_SECONDS)
            || !membership.tenure.may_admit(self.steady_now())
    }

    /// Renews its leases. [`StoreError::Fenced`] when it was taken for dead.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let asked = self.steady_now();
        let before = self.membership();
        self.store.renew(before.id, self.clock.now()).await?;
        self.membership.rcu(|membership| {
            let mut membership = **membership;
            // Meanwhile it may have been registered anew.
            if membership.id == before.id {
                membership.tenure.renewed(asked);
                membership.renewed = membership.renewed.max(asked);
            }
            membership
        });
        Ok(())
    }

    /// Registers anew, unless another task has done so since the number was `ended`. Whether it did.
    pub(crate) async fn register_anew(&self, ended: ReplicaId) -> Result<bool, StoreError> {
        let _one = self.registering.lock().await;
        if self.id() != ended {
            return Ok(false);
        }
        let asked = self.steady_now();
        let id = self.store.register_replica(self.clock.now()).await?;
        self.membership.store(Arc::new(Membership {
            id,
            tenure: Tenure::since(asked),
            renewed: asked,
        }));
        tracing::warn!(
            before = ended.get(),
            now = id.get(),
            "the database took this replica for dead: its leases are gone, and it begins anew"
        );
        Ok(true)
    }
}
