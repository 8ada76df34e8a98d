//! Follows the database's change log, so that what anyone changes acts within a second: the command line, an admin, plain
//! SQL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use airouter_billing::{ApiKeyId, Timestamp};
use airouter_store::clients::Change;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::gateway::Gateway;

/// How often the change log is read: half of what design §4.10 asks for, so that a debit from the command line, which takes
/// a recall and an answer to it, still acts within its second.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Reads the change log until `stop`.
pub(crate) async fn follow(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut position = -1;
    let mut ticks = tokio::time::interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match gateway.store.changes_since(position).await {
            Ok(changes) => {
                position = changes.position;
                if changes.overflow {
                    start_over(&gateway).await;
                }
                // A new price book is one change a model: it is read once.
                let mut changes = changes.changes;
                changes.dedup();
                for change in changes {
                    act(&gateway, change).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the change log could not be read"),
        }
    }
}

/// More changed than can be followed: everything that is remembered may be wrong.
async fn start_over(gateway: &Arc<Gateway>) {
    gateway.leases.give_back_all().await;
    act(gateway, Change::Prices).await;
}

async fn act(gateway: &Arc<Gateway>, change: Change) {
    match change {
        Change::Account(account) => gateway.keys.forget_account(account),
        Change::Key(key) => gateway.keys.forget_key(key),
        Change::Budget(budget) => gateway.leases.budget_changed(budget),
        Change::Recall(budget) => gateway.leases.recall(budget).await,
        Change::Prices => {
            gateway.keys.forget_all();
            match gateway.store.catalog().await {
                Ok(models) => gateway.set_catalog(Catalog::new(models, &gateway.metrics)),
                Err(error) => tracing::warn!(%error, "the price book could not be read"),
            }
        }
        Change::MasterAccounts => {
            tracing::info!("the master accounts changed; the change acts at the next start");
        }
    }
}

/// Shards of [`KeysUsed`], so that requests don't meet at one lock.
const SHARDS: usize = 64;

/// When keys were last used, until it is written.
pub(crate) struct KeysUsed([Mutex<HashMap<ApiKeyId, Timestamp>>; SHARDS]);

impl Default for KeysUsed {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl KeysUsed {
    pub(crate) fn note(&self, key: ApiKeyId, at: Timestamp) {
        // The last byte of a UUID is random.
        let shard = &self.0[usize::from(key.get().as_bytes()[15]) % SHARDS];
        shard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, at);
    }

    fn take(&self) -> Vec<(ApiKeyId, Timestamp)> {
        let taken = |shard: &Mutex<HashMap<_, _>>| {
            std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.0.iter().flat_map(taken).collect()
    }
}

impl Gateway {
    /// Writes when keys were last used. A failure loses nothing that matters.
    pub(crate) async fn write_keys_used(&self) {
        let used = self.keys_used.take();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.store.keys_used(&used).await {
            tracing::warn!(%error, "last uses of keys could not be written");
        }
    }
}
