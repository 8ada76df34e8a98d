//! The leases of this replica: holds are taken from them in memory; only one that runs dry asks the database, once for
//! all who wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use airouter_billing::budget::BudgetSlot;
use airouter_billing::lease::{Lease, RENEW_EVERY_SECONDS, Take};
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{BudgetId, BudgetRef, Nanos, Quantity, Timestamp};
use airouter_store::leases::{LeaseRequest, ReplicaId};
use airouter_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

/// Shards of the map of leases.
const SHARDS: usize = 64;
/// Most that a request waits for the database's answer about a lease.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a hold could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHold {
    /// This budget does not have as much.
    Exhausted(BudgetRef),
    /// The lease lacks so much; ask for it, then try again.
    Dry {
        /// Which budget.
        budget: BudgetRef,
        /// What the hold needs in all.
        amount: i64,
        /// What is missing.
        shortfall: i64,
    },
}

/// The leases of one replica.
pub struct LeaseKeeper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replica: ReplicaId,
    tracker: TaskTracker,
    started: (Timestamp, Instant),
    shards: [Mutex<HashMap<BudgetSlot, Arc<Cell>>>; SHARDS],
}

struct Cell {
    budget: BudgetRef,
    slot: BudgetSlot,
    state: Mutex<CellState>,
    answered: Notify,
}

#[derive(Default)]
struct CellState {
    lease: Option<Lease>,
    is_asking: bool,
    last_ask_failed: bool,
}

impl Cell {
    fn lock(&self) -> std::sync::MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseKeeper {
    /// The leases of `replica`, none yet.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        replica: ReplicaId,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::new()));
        let started = (clock.now(), Instant::now());
        Arc::new(Self {
            store,
            clock,
            replica,
            tracker,
            started,
            shards,
        })
    }

    /// The time for what must not jump: ends of leases, idleness, refusals.
    fn steady_now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.1.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.started.0.as_micros().saturating_add(elapsed))
    }

    /// Which replica this is.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// What is free of the tightest money budget of `budgets`, as far as this replica knows; `None` when they hold no
    /// money budget. Budgets that it knows nothing of yet are asked for first.
    pub async fn free(
        self: &Arc<Self>,
        budgets: &[BudgetRef],
    ) -> Result<Option<Nanos>, StoreError> {
        let mut tightest: Option<i64> = None;
        for budget in budgets {
            let cell = self.cell(*budget, self.clock.now());
            if cell.lock().lease.is_none() {
                self.ask_cell(&cell, 0, 0).await?;
            }
            if budget.quantity == Quantity::Nanos {
                let free = cell.lock().lease.as_ref().map_or(0, Lease::free);
                tightest = Some(tightest.map_or(free, |least| least.min(free)));
            }
        }
        Ok(tightest.map(Nanos::new))
    }

    /// Takes `amount` of every money budget and one request of every request budget, of all or of none.
    pub fn take(self: &Arc<Self>, budgets: &[BudgetRef], amount: Nanos) -> Result<Holds, NoHold> {
        let now = self.clock.now();
        let steady = self.steady_now();
        let mut holds = Holds {
            keeper: Arc::clone(self),
            held: Vec::with_capacity(budgets.len()),
        };
        for budget in budgets {
            let amount = match budget.quantity {
                Quantity::Nanos => amount.get(),
                Quantity::Requests => 1,
            };
            let cell = self.cell(*budget, now);
            let taken = match &mut cell.lock().lease {
                Some(lease) => lease.take(amount, steady),
                None => Take::Dry { shortfall: amount },
            };
            match taken {
                Take::Held => holds.held.push(Held {
                    slot: cell.slot,
                    cell,
                    amount,
                }),
                Take::Dry { shortfall } => {
                    return Err(NoHold::Dry {
                        budget: *budget,
                        amount,
                        shortfall,
                    });
                }
                Take::Refused => return Err(NoHold::Exhausted(*budget)),
            }
        }
        Ok(holds)
    }

    /// Asks the database for `shortfall` more, which a hold of `amount` needs. What it answered shows in the lease.
    pub async fn ask(
        self: &Arc<Self>,
        budget: BudgetRef,
        amount: i64,
        shortfall: i64,
    ) -> Result<(), StoreError> {
        let cell = self.cell(budget, self.clock.now());
        self.ask_cell(&cell, amount, shortfall).await
    }

    /// Whether a budget refused `amount` a moment ago.
    pub fn is_refused(&self, budget: BudgetRef, amount: i64) -> bool {
        let now = self.steady_now();
        let cell = self.cell(budget, self.clock.now());
        let state = cell.lock();
        state
            .lease
            .as_ref()
            .is_some_and(|lease| lease.is_refused(amount, now))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cells().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a hold of `amount` lacks.
    pub fn missing(&self, budget: BudgetRef, amount: i64) -> i64 {
        let cell = self.cell(budget, self.clock.now());
        let state = cell.lock();
        state
            .lease
            .as_ref()
            .map_or(amount, |lease| lease.shortfall(amount))
    }

    /// What is known to be free of one budget.
    pub fn free_of(&self, budget: BudgetRef) -> i64 {
        self.cell(budget, self.clock.now())
            .lock()
            .lease
            .as_ref()
            .map_or(0, Lease::free)
    }

    async fn ask_cell(
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
        let now = self.clock.now();
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
        let answer = self.store.lease(self.replica, request, now).await;
        let mut state = cell.lock();
        state.is_asking = false;
        state.last_ask_failed = answer.is_err();
        match answer {
            Ok(grant) => {
                let now = self.steady_now();
                let lease = state
                    .lease
                    .get_or_insert_with(|| Lease::open(grant.free, now));
                lease.granted_more(grant, amount, shortfall, now);
            }
            Err(error) => tracing::warn!(%error, "a lease could not be asked for"),
        }
        drop(state);
        cell.answered.notify_waiters();
    }

    /// What is left of a lease whose budget was changed goes back before more is asked for.
    async fn give_stale_back(&self, cell: &Cell) -> Result<(), StoreError> {
        let stale = cell.lock().lease.as_mut().map_or(0, Lease::take_stale);
        if stale == 0 {
            return Ok(());
        }
        let given_back = self
            .store
            .give_back(self.replica, &[(cell.slot, stale)])
            .await;
        if let (Err(_), Some(lease)) = (&given_back, &mut cell.lock().lease) {
            lease.not_given_back(stale);
        }
        given_back
    }

    /// Gives back what was idle, and renews the rest when that is due. Called every half second.
    pub async fn maintain(&self) {
        let now = self.steady_now();
        self.give_back(|lease| lease.take_idle(now)).await;
        self.drop_empty();
    }

    /// Renews all leases; called every [`RENEW_EVERY_SECONDS`].
    pub async fn renew(&self) -> Result<(), StoreError> {
        self.store.renew(self.replica, self.clock.now()).await?;
        let now = self.steady_now();
        for cell in self.cells() {
            if let Some(lease) = &mut cell.lock().lease {
                lease.renewed(now);
            }
        }
        Ok(())
    }

    /// How often [`LeaseKeeper::renew`] is called.
    pub const RENEW_EVERY: Duration = Duration::from_secs(RENEW_EVERY_SECONDS.unsigned_abs());

    /// Gives back everything of `budget` that no request holds: someone else needs it.
    pub async fn recall(&self, budget: BudgetId) {
        self.give_back_of(|slot| slot.id == budget, Lease::take_available)
            .await;
    }

    /// Gives everything back that no request holds: the replica stops.
    pub async fn give_back_all(&self) {
        self.give_back(Lease::take_available).await;
    }

    /// A budget changed: what it refused, it may grant now.
    pub fn budget_changed(&self, budget: BudgetId) {
        for cell in self.cells() {
            if cell.budget.id == budget
                && let Some(lease) = &mut cell.lock().lease
            {
                lease.budget_changed();
            }
        }
    }

    /// What all leases have reserved and what requests hold of that, of money budgets, in nano-dollars.
    pub fn totals(&self) -> (i64, i64) {
        self.cells()
            .iter()
            .filter(|cell| cell.budget.quantity == Quantity::Nanos)
            .map(|cell| {
                cell.lock()
                    .lease
                    .as_ref()
                    .map_or((0, 0), |lease| (lease.granted(), lease.held()))
            })
            .fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    async fn give_back(&self, take: impl Fn(&mut Lease) -> i64) {
        self.give_back_of(|_| true, take).await;
    }

    async fn give_back_of(
        &self,
        is_meant: impl Fn(&BudgetSlot) -> bool,
        take: impl Fn(&mut Lease) -> i64,
    ) {
        let mut amounts = Vec::new();
        let mut taken_from = Vec::new();
        for (slot, cell) in self.slots() {
            if !is_meant(&slot) {
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
                amounts.push((slot, amount));
                taken_from.push((cell, amount));
            }
        }
        if amounts.is_empty() {
            return;
        }
        let given_back = self.store.give_back(self.replica, &amounts).await;
        if let Err(error) = &given_back {
            tracing::warn!(%error, "idle leases could not be given back; they are kept");
        }
        for (cell, amount) in taken_from {
            let mut state = cell.lock();
            state.is_asking = false;
            state.last_ask_failed = false;
            if let (Some(lease), Err(_)) = (&mut state.lease, &given_back) {
                lease.not_given_back(amount);
            }
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
                state.is_asking || Arc::strong_count(cell) > 1 || !is_unused
            });
        }
    }

    fn cell(&self, budget: BudgetRef, now: Timestamp) -> Arc<Cell> {
        let slot = budget.slot(now);
        let mut cells = self
            .shard(&slot)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(slot).or_insert_with(|| {
            Arc::new(Cell {
                budget,
                slot,
                state: Mutex::default(),
                answered: Notify::new(),
            })
        });
        Arc::clone(cell)
    }

    fn shard(&self, slot: &BudgetSlot) -> &Mutex<HashMap<BudgetSlot, Arc<Cell>>> {
        let id = match slot.id {
            BudgetId::Balance(account) => account.get(),
            BudgetId::Cap(id) => id,
        };
        // The last byte of a UUID is random.
        let index = usize::from(id.as_bytes()[15]) % SHARDS;
        &self.shards[index]
    }

    fn slots(&self) -> Vec<(BudgetSlot, Arc<Cell>)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let cells = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(cells.iter().map(|(slot, cell)| (*slot, Arc::clone(cell))));
        }
        all
    }

    fn cells(&self) -> Vec<Arc<Cell>> {
        self.slots().into_iter().map(|(_, cell)| cell).collect()
    }
}

struct Held {
    slot: BudgetSlot,
    cell: Arc<Cell>,
    amount: i64,
}

/// The holds of one request. Dropping them gives them back unspent.
pub struct Holds {
    keeper: Arc<LeaseKeeper>,
    held: Vec<Held>,
}

impl Holds {
    /// What is held, as a pending request stores it.
    pub fn as_charges(&self) -> Vec<BudgetCharge> {
        self.held
            .iter()
            .map(|held| BudgetCharge {
                slot: held.slot,
                quantity: held.cell.budget.quantity,
                from_lease: held.amount,
                excess: 0,
            })
            .collect()
    }

    /// Settles the request at `price`: what it takes from each budget.
    pub fn spend(mut self, price: Nanos) -> Vec<BudgetCharge> {
        let held = std::mem::take(&mut self.held);
        held.into_iter()
            .map(|held| {
                let quantity = held.cell.budget.quantity;
                let spend = match quantity {
                    Quantity::Nanos => price.get(),
                    Quantity::Requests => 1,
                };
                let spent = held
                    .cell
                    .lock()
                    .lease
                    .as_mut()
                    .map(|lease| lease.spend(held.amount, spend));
                let (from_lease, excess) =
                    spent.map_or((0, spend), |part| (part.from_lease, part.excess));
                BudgetCharge {
                    slot: held.slot,
                    quantity,
                    from_lease,
                    excess,
                }
            })
            .collect()
    }

    /// The keeper that they came from.
    pub fn keeper(&self) -> &Arc<LeaseKeeper> {
        &self.keeper
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        for held in self.held.drain(..) {
            if let Some(lease) = &mut held.cell.lock().lease {
                lease.release(held.amount);
            }
        }
    }
}
