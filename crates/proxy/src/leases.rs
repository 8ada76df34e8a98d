//! The leases of this replica: holds are taken from them in memory; only one that runs dry asks the database, once for
//! all who wait.

mod asking;
mod giving_back;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use airouter_billing::budget::BudgetSlot;
use airouter_billing::holds::{self, LeaseCell, NoHold};
use airouter_billing::lease::Lease;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{BudgetId, BudgetRef, Nanos, Quantity, Timestamp};
use airouter_store::leases::ReplicaId;
use airouter_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::replica::Replica;

/// Shards of the map of leases.
const SHARDS: usize = 64;
/// Most that a request waits for the database's answer about a lease.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The leases of one replica.
pub struct LeaseKeeper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replica: Arc<Replica>,
    tracker: TaskTracker,
    /// When renewing failed last.
    renewing: tokio::sync::Mutex<Option<Instant>>,
    has_begun_anew: AtomicBool,
    /// When the database was last heard of, in steady microseconds.
    heard_of_database: AtomicI64,
    shards: [Mutex<HashMap<BudgetSlot, Arc<Cell>>>; SHARDS],
}

struct Cell {
    budget: BudgetRef,
    slot: BudgetSlot,
    /// Whose lease it is; another number of this process has others.
    replica: ReplicaId,
    state: Mutex<CellState>,
    answered: Notify,
}

#[derive(Default)]
struct CellState {
    lease: Option<Lease>,
    is_asking: bool,
    last_ask_failed: bool,
    recalled: Option<Timestamp>,
    /// The database may have reserved more than the lease knows of.
    is_in_doubt: bool,
}

impl CellState {
    /// What was taken out of the lease went back; or surely did not, and is there again; or nobody knows, and then it must
    /// not be spent.
    fn note_given_back(&mut self, amount: i64, outcome: &Result<(), StoreError>) {
        match (outcome, &mut self.lease) {
            (Err(StoreError::Unavailable(_)), Some(lease)) => lease.not_given_back(amount),
            (Err(_), _) => self.is_in_doubt = true,
            (Ok(()), _) => {}
        }
    }
}

impl Cell {
    fn lock(&self) -> std::sync::MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseCell for Cell {
    fn with_lease<T>(&self, act: impl FnOnce(Option<&mut Lease>) -> T) -> T {
        act(self.lock().lease.as_mut())
    }
}

impl LeaseKeeper {
    /// The leases of `replica`, none yet.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        replica: Arc<Replica>,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::new()));
        Arc::new(Self {
            store,
            clock,
            replica,
            tracker,
            renewing: tokio::sync::Mutex::default(),
            has_begun_anew: AtomicBool::new(false),
            heard_of_database: AtomicI64::new(i64::MIN),
            shards,
        })
    }

    fn steady_now(&self) -> Timestamp {
        self.replica.steady_now()
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
        let membership = self.replica.membership();
        let mut is_current = true;
        let wanted = budgets.iter().map(|budget| {
            let cell = self.cell(*budget, now);
            is_current &= cell.replica == membership.id;
            (*budget, cell.slot, cell)
        });
        let held = holds::Holds::take(membership.tenure, wanted, amount, self.steady_now())?;
        if !is_current {
            // It began anew in this very moment.
            return Err(NoHold::Ended);
        }
        Ok(Holds {
            held,
            replica: membership.id,
        })
    }

    /// What [`LeaseKeeper::take`] would say; takes nothing.
    pub fn look(&self, budgets: &[BudgetRef], amount: Nanos) -> Result<(), NoHold> {
        let now = self.clock.now();
        let tenure = self.replica.membership().tenure;
        let cells = budgets
            .iter()
            .map(|budget| (*budget, self.cell(*budget, now)));
        holds::Holds::look(tenure, cells, amount, self.steady_now())
    }

    /// Renews the leases if they have ended or that is due; whoever was taken for dead begins anew. One task asks for all
    /// who wait, and all of them share in its failure.
    pub async fn renew_if_due(&self) -> Result<(), StoreError> {
        let came = Instant::now();
        let mut last_failure = self.renewing.lock().await;
        if !self.replica.renewal_is_due() {
            return Ok(());
        }
        if last_failure.is_some_and(|failure| failure > came) {
            return Err(StoreError::Unavailable(
                "the leases could not be renewed".into(),
            ));
        }
        let id = self.replica.id();
        let renewed = match tokio::time::timeout(ASK_TIMEOUT, self.replica.renew()).await {
            Ok(Err(StoreError::Fenced)) => self.begin_anew(id).await,
            Ok(renewed) => renewed,
            Err(elapsed) => Err(StoreError::InDoubt(Box::new(elapsed))),
        };
        *last_failure = renewed.is_err().then(Instant::now);
        renewed
    }

    /// Whether this replica has begun anew since it was last asked.
    pub(crate) fn take_begun_anew(&self) -> bool {
        self.has_begun_anew.swap(false, Ordering::AcqRel)
    }

    /// This replica stops: what it left open is anybody's.
    pub(crate) async fn end(&self) -> Result<(), StoreError> {
        let end = self.store.end_replica(self.replica.id(), self.clock.now());
        match tokio::time::timeout(ASK_TIMEOUT, end).await {
            Ok(ended) => ended,
            Err(elapsed) => Err(StoreError::InDoubt(Box::new(elapsed))),
        }
    }

    /// The database is not the one that granted the leases, or an older state of it.
    pub(crate) async fn begin_over(&self) -> Result<(), StoreError> {
        let id = self.replica.id();
        self.store.end_replica(id, self.clock.now()).await?;
        self.begin_anew(id).await
    }

    /// The database has given this replica's leases back: nothing of them may be spent any more.
    async fn begin_anew(&self, ended: ReplicaId) -> Result<(), StoreError> {
        if !self.replica.register_anew(ended).await? {
            return Ok(());
        }
        self.has_begun_anew.store(true, Ordering::Release);
        let present = self.replica.id();
        for shard in &self.shards {
            let mut cells = shard.lock().unwrap_or_else(PoisonError::into_inner);
            cells.retain(|_, cell| {
                let is_present = cell.replica == present;
                if !is_present {
                    cell.with_lease(|lease| lease.map(Lease::lapse));
                }
                is_present
            });
        }
        Ok(())
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

    /// What is known to be free of one budget; `None` when nothing was ever asked about it.
    pub fn known_free_of(&self, budget: BudgetRef) -> Option<i64> {
        let slot = budget.slot(self.clock.now());
        let cells = self
            .shard(&slot)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let cell = Arc::clone(cells.get(&slot)?);
        drop(cells);
        let state = cell.lock();
        state.lease.as_ref().map(Lease::free)
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
                // Read under the lock: who begins anew has another number before it empties the map.
                replica: self.replica.id(),
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

    fn cells(&self) -> Vec<Arc<Cell>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let cells = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(cells.values().map(Arc::clone));
        }
        all
    }
}

/// The holds of one request, and under which number of this replica they were taken. Dropping them gives them back
/// unspent.
pub struct Holds {
    held: holds::Holds<Arc<Cell>>,
    replica: ReplicaId,
}

impl Holds {
    /// What is held, as a pending request stores it.
    pub fn as_charges(&self) -> Vec<BudgetCharge> {
        self.held.as_charges()
    }

    /// Settles the request at `price`: what it takes from each budget, and from whose leases.
    pub fn spend(self, price: Nanos) -> (Vec<BudgetCharge>, ReplicaId) {
        (self.held.spend(price), self.replica)
    }
}

#[cfg(test)]
mod tests;
