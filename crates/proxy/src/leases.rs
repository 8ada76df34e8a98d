//! The leases of this replica: holds are taken from them in memory; only one that runs dry asks the database, once for
//! all who wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use airouter_billing::budget::BudgetSlot;
use airouter_billing::holds::{self, LeaseCell, NoHold};
use airouter_billing::lease::Lease;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{BudgetId, BudgetRef, Nanos, Quantity, Timestamp};
use airouter_store::leases::{LeaseRequest, Leased, ReplicaId};
use airouter_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::replica::Replica;

/// Shards of the map of leases.
const SHARDS: usize = 64;
/// Most that a request waits for the database's answer about a lease.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// After a recall others give back what they don't use: the waits between looking again, in all 250 ms.
const RECALL_WAITS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(100),
];
/// So long after a recall of its own a replica does not obey one: it is most likely that very one.
const OWN_RECALL_MICROS: u64 = 300_000;

/// The leases of one replica.
pub struct LeaseKeeper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replica: Arc<Replica>,
    tracker: TaskTracker,
    /// When renewing failed last.
    renewing: tokio::sync::Mutex<Option<Instant>>,
    has_begun_anew: AtomicBool,
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

/// Whether less was granted than was needed.
const fn is_short(leased: &Leased, at_least: i64) -> bool {
    leased.grant.amount < at_least
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

    /// Gives back what was idle. Called every half second.
    pub async fn maintain(&self) {
        let now = self.steady_now();
        self.give_back(|lease| lease.take_idle(now)).await;
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
