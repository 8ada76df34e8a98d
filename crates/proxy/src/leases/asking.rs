//! A lease that runs dry asks the database, once for all who wait; where others have leased what it needs, it recalls it.

use std::sync::Arc;
use std::time::Duration;

use airouter_billing::lease::Lease;
use airouter_store::StoreError;
use airouter_store::leases::{LeaseRequest, Leased};

use super::{ASK_TIMEOUT, Cell, LeaseKeeper};

/// After a recall others give back what they don't use: the waits between looking again, in all 250 ms.
const RECALL_WAITS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(100),
];
/// Whether less was granted than was needed.
const fn is_short(leased: &Leased, at_least: i64) -> bool {
    leased.grant.amount < at_least
}

impl LeaseKeeper {
    pub(super) async fn ask_cell(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        amount: i64,
        shortfall: i64,
    ) -> Result<(), StoreError> {
        let answered = cell.answered.notified();
        tokio::pin!(answered);
        answered.as_mut().enable();
        {
            let mut state = cell.lock();
            if !state.is_asking {
                state.is_asking = true;
                // In a task of its own: what is granted must reach the lease even if who asked has gone.
                self.tracker
                    .spawn(Arc::clone(self).ask_store(Arc::clone(cell), amount, shortfall));
            }
        }
        let waited = tokio::time::timeout(ASK_TIMEOUT, answered).await;
        match waited {
            Ok(()) if !cell.lock().last_ask_failed => Ok(()),
            Ok(()) => Err(StoreError::Unavailable(
                "the lease could not be asked for".into(),
            )),
            Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
        }
    }

    async fn ask_store(self: Arc<Self>, cell: Arc<Cell>, amount: i64, shortfall: i64) {
        if let Err(error) = self.give_stale_back(&cell).await {
            tracing::warn!(%error, "a lease of a changed budget could not be given back");
        }
        let wish = cell
            .lock()
            .lease
            .as_ref()
            .map_or(shortfall, |lease| lease.wish(shortfall));
        let request = LeaseRequest {
            slot: cell.slot,
            at_least: shortfall,
            wish,
        };
        let (answer, at_least) = self.ask_and_recall(&cell, amount, request).await;
        let has_begun_anew = matches!(answer, Err(StoreError::Fenced))
            && self.begin_anew(cell.replica).await.is_ok();
        let mut state = cell.lock();
        state.is_asking = false;
        // Who waited finds another lease in the place of one that has ended.
        state.last_ask_failed = answer.is_err() && !has_begun_anew;
        match answer {
            Ok(Leased { grant, elsewhere }) => {
                let now = self.steady_now();
                let lease = state
                    .lease
                    .get_or_insert_with(|| Lease::open(grant.free, now));
                lease.granted_more(grant, amount, at_least, now);
                lease.leased_elsewhere(elsewhere);
            }
            Err(error) => {
                state.is_in_doubt |= matches!(error, StoreError::InDoubt(_));
                tracing::warn!(%error, "a lease could not be asked for");
            }
        }
        drop(state);
        cell.answered.notify_waiters();
    }

    /// Asks for a lease, of which a hold of `amount` needs `request.at_least` more. Where the budget does not have enough
    /// because replicas have leased it, everyone gives back what it does not use, who asks first of all, and asks for the
    /// whole: the database decides who gets it. Returns the last answer, and for how much it was asked.
    async fn ask_and_recall(
        &self,
        cell: &Cell,
        amount: i64,
        request: LeaseRequest,
    ) -> (Result<Leased, StoreError>, i64) {
        let mut answer = self.ask_once(cell, request).await;
        let own = cell.lock().lease.as_ref().map_or(0, Lease::available);
        let is_worth_it = |leased: &Leased| {
            let in_reach = leased.grant.free.saturating_add(leased.elsewhere);
            is_short(leased, request.at_least) && in_reach.saturating_add(own) >= amount
        };
        if !answer.as_ref().is_ok_and(is_worth_it) {
            return (answer, request.at_least);
        }
        let whole = LeaseRequest {
            at_least: amount,
            wish: request.wish.max(amount),
            ..request
        };
        if let Err(error) = self.recall_and_give_back(cell).await {
            return (Err(error), amount);
        }
        for wait in RECALL_WAITS {
            answer = self.ask_once(cell, whole).await;
            if !answer.as_ref().is_ok_and(|leased| is_short(leased, amount)) {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        (answer, amount)
    }

    async fn ask_once(&self, cell: &Cell, request: LeaseRequest) -> Result<Leased, StoreError> {
        self.store
            .lease(cell.replica, request, self.clock.now())
            .await
    }

    async fn recall_and_give_back(&self, cell: &Cell) -> Result<(), StoreError> {
        let own = {
            let mut state = cell.lock();
            state.recalled = Some(self.steady_now());
            state.lease.as_mut().map_or(0, Lease::take_available)
        };
        if own > 0 {
            let given_back = self
                .store
                .give_back(cell.replica, &[(cell.slot, own)])
                .await;
            cell.lock().note_given_back(own, &given_back);
            given_back?;
        }
        self.store.recall(cell.slot.id).await
    }

    /// What is left of a lease whose budget was changed goes back before more is asked for.
    async fn give_stale_back(&self, cell: &Cell) -> Result<(), StoreError> {
        let stale = cell.lock().lease.as_mut().map_or(0, Lease::take_stale);
        if stale == 0 {
            return Ok(());
        }
        let given_back = self
            .store
            .give_back(cell.replica, &[(cell.slot, stale)])
            .await;
        let mut state = cell.lock();
        state.note_given_back(stale, &given_back);
        if let (Err(_), Some(lease)) = (&given_back, &mut state.lease) {
            // What it has is still of the budget before the change.
            lease.budget_changed();
        }
        drop(state);
        given_back
    }
}
