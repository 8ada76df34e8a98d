//! Follows the database's change log, so that what anyone changes acts within a second: another replica, the command line,
//! an admin, plain SQL. The log is read when the database hints at a change, and often enough without.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use airouter_billing::{ApiKeyId, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::{Change, ChangePosition, Changes};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

/// How often the change log is read: half of what design §4.10 asks for, so that a debit from the command line, which takes
/// a recall and an answer to it, still acts within its second.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Reads the change log until `stop`.
pub(crate) async fn follow(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut position = ChangePosition::default();
    let mut is_away = false;
    let mut ticks = tokio::time::interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            () = gateway.store.change_hint() => {}
        }
        if gateway.change_log_is_another.swap(false, Ordering::AcqRel) {
            position = ChangePosition::default();
        }
        match gateway.store.changes_since(&position).await {
            Ok(changes) => {
                gateway.leases.note_database();
                if std::mem::take(&mut is_away) {
                    tracing::info!("the change log can be read again");
                }
                let look = if position == ChangePosition::default() {
                    Look::First
                } else {
                    Look::Next
                };
                match act_on(&gateway, look, &changes).await {
                    Ok(()) => position = changes.position,
                    Err(error) => {
                        tracing::warn!(%error, "a change could not be followed; it is tried again");
                    }
                }
            }
            Err(error) if !is_away => {
                is_away = true;
                tracing::warn!(%error, "the change log can't be read: what changes does not act until it can");
            }
            Err(_) => {}
        }
    }
}

/// Whether the change log was read before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Next,
}

/// Acts on changes. What is remembered from before the first look, or from before more changes than can be followed, may
/// be wrong: all of it is read again.
async fn act_on(gateway: &Arc<Gateway>, look: Look, changes: &Changes) -> Result<(), StoreError> {
    if changes.overflow || look == Look::First {
        gateway.leases.give_back_all().await;
        act(gateway, Change::Prices).await?;
        act(gateway, Change::MasterAccounts).await?;
    }
    // A new price book is one change a model: it is read once.
    let mut changes = changes.changes.clone();
    changes.dedup();
    for change in changes {
        act(gateway, change).await?;
    }
    Ok(())
}

async fn act(gateway: &Arc<Gateway>, change: Change) -> Result<(), StoreError> {
    match change {
        Change::Account(account) => gateway.keys.forget_account(account),
        Change::Key(key) => gateway.keys.forget_key(key),
        Change::Budget(budget) => gateway.leases.budget_changed(budget),
        Change::Recall(budget) => gateway.leases.recall(budget).await,
        Change::Prices => {
            gateway.keys.forget_all();
            gateway.load_catalog().await?;
        }
        Change::MasterAccounts => gateway.load_masters().await?,
    }
    Ok(())
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
