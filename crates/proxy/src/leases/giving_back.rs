//! What leases don't use goes back: idle ones, recalled ones, all of them at a stop, and what nobody knows of.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use airouter_billing::lease::Lease;
use airouter_billing::{BudgetId, Timestamp};

use super::{Cell, CellState, LeaseKeeper};

/// So long after a recall of its own a replica does not obey one: it is most likely that very one.
const OWN_RECALL_MICROS: u64 = 300_000;
/// A database that was not heard of for so long may be away.
const SILENCE_MICROS: u64 = 500_000;

impl LeaseKeeper {
    /// The database has answered something.
    pub fn note_database(&self) {
        let now = self.steady_now().as_micros();
        self.heard_of_database.store(now, Ordering::Relaxed);
    }

    /// Gives back what was idle. Called every half second. While the database may be away it is kept: requests go on with it,
    /// and of what is sent to a database that hangs nobody knows whose it is.
    pub async fn maintain(&self) {
        let now = self.steady_now();
        let heard = Timestamp::from_micros(self.heard_of_database.load(Ordering::Relaxed));
        if now.micros_since(heard) < SILENCE_MICROS {
            self.give_back(|lease| lease.take_idle(now)).await;
        }
        self.drop_empty();
    }

    /// Gives back all that the database has reserved for leases which are empty and in doubt. To be called when everything
    /// that was spent is committed.
    pub async fn clear_doubts(&self) {
        for cell in self.cells() {
            {
                let mut state = cell.lock();
                let is_empty = state.lease.as_ref().is_none_or(Lease::is_empty);
                if !state.is_in_doubt || state.is_asking || !is_empty {
                    continue;
                }
                state.is_asking = true;
            }
            let cleared = self
                .store
                .give_back(cell.replica, &[(cell.slot, i64::MAX)])
                .await;
            let mut state = cell.lock();
            state.is_asking = false;
            state.last_ask_failed = false;
            state.is_in_doubt = cleared.is_err();
            drop(state);
            cell.answered.notify_waiters();
        }
    }

    /// Gives back everything of `budget` that no request holds: someone else needs it.
    pub async fn recall(&self, budget: BudgetId) {
        let now = self.steady_now();
        let is_recalled = |cell: &Cell, state: &CellState| {
            let was_own = state
                .recalled
                .is_some_and(|at| now.micros_since(at) < OWN_RECALL_MICROS);
            cell.slot.id == budget && !was_own
        };
        for cell in self.cells() {
            let mut state = cell.lock();
            if state.is_asking
                && is_recalled(&cell, &state)
                && let Some(lease) = &mut state.lease
            {
                // What it is granted now goes back before it is spent.
                lease.budget_changed();
            }
        }
        self.give_back_of(
            |cell| is_recalled(cell, &cell.lock()),
            Lease::take_available,
        )
        .await;
    }

    /// Gives everything back that no request holds: the replica stops.
    pub async fn give_back_all(&self) {
        self.give_back(Lease::take_available).await;
    }

    async fn give_back(&self, take: impl Fn(&mut Lease) -> i64) {
        self.give_back_of(|_| true, take).await;
    }

    async fn give_back_of(
        &self,
        is_meant: impl Fn(&Cell) -> bool,
        take: impl Fn(&mut Lease) -> i64,
    ) {
        let replica = self.replica.id();
        let mut amounts = Vec::new();
        let mut taken_from = Vec::new();
        for cell in self.cells() {
            if cell.replica != replica || !is_meant(&cell) {
                continue;
            }
            let mut state = cell.lock();
            if state.is_asking {
                continue;
            }
            let amount = state.lease.as_mut().map_or(0, &take);
            if amount > 0 {
                // Whoever needs more waits until it is back: until then the database would refuse what is there.
                state.is_asking = true;
                drop(state);
                amounts.push((cell.slot, amount));
                taken_from.push((cell, amount));
            }
        }
        if amounts.is_empty() {
            return;
        }
        let given_back = self.store.give_back(replica, &amounts).await;
        if let Err(error) = &given_back {
            tracing::warn!(%error, "idle leases could not be given back; they are kept");
        }
        for (cell, amount) in taken_from {
            let mut state = cell.lock();
            state.is_asking = false;
            state.last_ask_failed = false;
            state.note_given_back(amount, &given_back);
            drop(state);
            cell.answered.notify_waiters();
        }
    }

    fn drop_empty(&self) {
        let (now, steady) = (self.clock.now(), self.steady_now());
        for shard in &self.shards {
            let mut cells = shard.lock().unwrap_or_else(PoisonError::into_inner);
            cells.retain(|slot, cell| {
                let is_past = cell.budget.slot(now) != *slot;
                let state = cell.lock();
                let is_unused = state.lease.as_ref().is_none_or(|lease| {
                    lease.is_empty() && (is_past || lease.is_forgettable(steady))
                });
                let is_needed = state.is_asking || state.is_in_doubt;
                is_needed || Arc::strong_count(cell) > 1 || !is_unused
            });
        }
    }
}
