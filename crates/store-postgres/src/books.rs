//! What a change of money locks, reads and writes: a fixed number of statements, each with rows as arrays.
//!
//! Everyone locks in the same order, so that nobody waits in a circle: the lease clock, the replica, balances by
//! account, periods of budgets by budget and period, keys for repeats by slot, leases, and the accounts of the ledger
//! last, because all replicas post to the same few. Whoever has the row of a budget has its leases too, and whoever has the balance of a payer may
//! decide which of the payer's requests are settled. What is decided rests on what was read after the locks were taken.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use airouter_billing::batch::{BalanceChange, BalanceChanges, SlotChange, SlotChanges, SlotState};
use airouter_billing::budget::BudgetSlot;
use airouter_billing::posting::Posting;
use airouter_billing::{BudgetId, RequestId, Timestamp};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::timestamptz;

/// Budgets as columns.
#[derive(Debug, Default)]
struct SlotColumns {
    ids: Vec<Uuid>,
    starts: Vec<OffsetDateTime>,
}

impl SlotColumns {
    fn push(&mut self, id: Uuid, period_start: Timestamp) {
        self.ids.push(id);
        self.starts.push(timestamptz(period_start));
    }
}

/// Locks balances (those of `payers` too) and budgets, until the end of the transaction. Where a period of a budget has
/// no row to lock yet, it gets one.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    slots: &BTreeSet<BudgetSlot>,
    payers: impl Iterator<Item = Uuid>,
) -> Result<(), StoreError> {
    let mut accounts: BTreeSet<Uuid> = payers.collect();
    let mut caps = SlotColumns::default();
    for slot in slots {
        match slot.id {
            BudgetId::Balance(account) => {
                accounts.insert(account.get());
            }
            BudgetId::Cap(budget) => caps.push(budget, slot.period_start),
        }
    }
    let accounts: Vec<Uuid> = accounts.into_iter().collect();
    let locked = lock_rows(connection, &accounts, &caps).await?;
    if locked < caps.ids.len() {
        sqlx::query!(
            "INSERT INTO budget_periods (budget_id, period_start)
            SELECT b.id, wanted.period_start
            FROM unnest($1::uuid[], $2::timestamptz[]) AS wanted (id, period_start) JOIN budgets b ON b.id = wanted.id
            ORDER BY 1, 2
            ON CONFLICT DO NOTHING",
            &caps.ids,
            &caps.starts
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        lock_rows(connection, &accounts, &caps).await?;
    }
    Ok(())
}

/// How many periods there were to lock.
async fn lock_rows(
    connection: &mut PgConnection,
    accounts: &[Uuid],
    caps: &SlotColumns,
) -> Result<usize, StoreError> {
    let locked = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(locked.period), 0) AS "periods!: i64"
        FROM (
            SELECT 0 AS period FROM (
                SELECT FROM balances WHERE account_id = ANY ($1) ORDER BY account_id FOR NO KEY UPDATE
            ) AS balance
            UNION ALL
            SELECT 1 FROM (
                SELECT FROM unnest($2::uuid[], $3::timestamptz[]) AS wanted (id, period_start)
                JOIN budget_periods p ON p.budget_id = wanted.id AND p.period_start = wanted.period_start
                ORDER BY p.budget_id, p.period_start FOR NO KEY UPDATE OF p
            ) AS period
        ) AS locked"#,
        accounts,
        &caps.ids,
        &caps.starts
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(usize::try_from(locked).unwrap_or(0))
}

/// What there is to know before money changes.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The budgets that were asked for.
    pub(crate) slots: HashMap<BudgetSlot, SlotState>,
    /// What leases of other replicas have of them.
    pub(crate) elsewhere: HashMap<BudgetSlot, i64>,
    /// Those of the requests that were asked for which are settled already.
    pub(crate) settled: HashSet<RequestId>,
    /// Those of them that were booked as a loss.
    pub(crate) lost: HashSet<RequestId>,
}

/// Reads the budgets as `replica` finds them, and which of the requests are settled. What is to be changed was locked
/// before.
pub(crate) async fn read(
    connection: &mut PgConnection,
    replica: ReplicaId,
    slots: &BTreeSet<BudgetSlot>,
    requests: impl Iterator<Item = RequestId>,
) -> Result<Books, StoreError> {
    let mut wanted = SlotColumns::default();
    let mut are_balances = Vec::with_capacity(slots.len());
    for slot in slots {
        let (is_balance, id) = match slot.id {
            BudgetId::Balance(account) => (true, account.get()),
            BudgetId::Cap(budget) => (false, budget),
        };
        are_balances.push(is_balance);
        wanted.push(id, slot.period_start);
    }
    let requests: Vec<Uuid> = requests.map(RequestId::get).collect();
    let rows = sqlx::query_file!(
        "src/books_read.sql",
        &are_balances,
        &wanted.ids,
        &wanted.starts,
        replica.get(),
        &requests
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let wanted: Vec<BudgetSlot> = slots.iter().copied().collect();
    let mut books = Books::default();
    for row in rows {
        if let Some(id) = row.id {
            let id = RequestId::new(id);
            books.settled.insert(id);
            if row.first != 0 {
                books.lost.insert(id);
            }
            continue;
        }
        let position = row.position.unwrap_or(0).checked_sub(1);
        let slot = position.and_then(|position| usize::try_from(position).ok());
        if let Some(slot) = slot.and_then(|position| wanted.get(position)) {
            let state = SlotState {
                leased: row.first,
                free: row.second.unwrap_or(0),
            };
            books.slots.insert(*slot, state);
            books.elsewhere.insert(*slot, row.third.unwrap_or(0));
        }
    }
    Ok(books)
}

/// The postings of a transaction of the ledger that is there already.
#[derive(Debug)]
pub(crate) struct Postings {
    pub(crate) transaction: i64,
    pub(crate) postings: Vec<Posting>,
}

/// Everything that one change of money writes.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) postings: Vec<Postings>,
    /// Whose leases release what [`SlotChange`] says.
    pub(crate) replica: Option<ReplicaId>,
    pub(crate) slots: SlotChanges,
    pub(crate) balances: BalanceChanges,
}

/// Writes an entry that [`read`] has shown to be possible. What it changes was locked before.
pub(crate) async fn write(connection: &mut PgConnection, entry: &Entry) -> Result<(), StoreError> {
    let slots = SlotChangeColumns::of(&entry.slots);
    let balances = BalanceColumns::of(entry);
    let mut transactions = Vec::new();
    let mut kinds = Vec::new();
    let mut owners = Vec::new();
    let mut amounts = Vec::new();
    for posted in &entry.postings {
        for posting in &posted.postings {
            transactions.push(posted.transaction);
            kinds.push(posting.account.kind());
            owners.push(posting.account.owner().unwrap_or_default());
            amounts.push(posting.amount.get());
        }
    }
    sqlx::query_file!(
        "src/books_write.sql",
        entry.replica.map(ReplicaId::get),
        &slots.leases.ids,
        &slots.leases.starts,
        &slots.leases_released,
        &slots.caps.ids,
        &slots.caps.starts,
        &slots.caps_spent,
        &slots.caps_released,
        &balances.accounts,
        &balances.balances,
        &balances.released,
        &balances.spent,
        &balances.earned,
        &transactions,
        &kinds[..] as _,
        &owners,
        &amounts
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Leases and caps that change, as columns.
#[derive(Default)]
struct SlotChangeColumns {
    leases: SlotColumns,
    leases_released: Vec<i64>,
    caps: SlotColumns,
    caps_spent: Vec<i64>,
    caps_released: Vec<i64>,
}

impl SlotChangeColumns {
    fn of(slots: &SlotChanges) -> Self {
        let mut columns = Self::default();
        for (slot, change) in slots {
            let id = match slot.id {
                BudgetId::Balance(account) => account.get(),
                BudgetId::Cap(budget) => budget,
            };
            if change.released != 0 {
                columns.leases.push(id, slot.period_start);
                columns.leases_released.push(change.released);
            }
            if matches!(slot.id, BudgetId::Cap(_)) && *change != SlotChange::default() {
                columns.caps.push(id, slot.period_start);
                columns.caps_spent.push(change.spent);
                columns.caps_released.push(change.released);
            }
        }
        columns
    }
}

/// Balances that change, as columns.
#[derive(Default)]
struct BalanceColumns {
    accounts: Vec<Uuid>,
    balances: Vec<i64>,
    released: Vec<i64>,
    spent: Vec<i64>,
    earned: Vec<i64>,
}

impl BalanceColumns {
    /// Balances change by what is booked and by what leases release.
    fn of(entry: &Entry) -> Self {
        let mut rows: BTreeMap<Uuid, (BalanceChange, i64)> = entry
            .balances
            .iter()
            .map(|(account, change)| (*account, (*change, 0)))
            .collect();
        for (slot, change) in &entry.slots {
            if let BudgetId::Balance(account) = slot.id {
                rows.entry(account.get()).or_default().1 += change.released;
            }
        }
        let mut columns = Self::default();
        for (account, (change, released)) in rows {
            if (change, released) != (BalanceChange::default(), 0) {
                columns.accounts.push(account);
                columns.balances.push(change.balance);
                columns.released.push(released);
                columns.spent.push(change.spent);
                columns.earned.push(change.earned);
            }
        }
        columns
    }
}
