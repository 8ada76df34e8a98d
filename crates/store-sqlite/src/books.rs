//! What a change of money reads and writes. Reading is one statement and writing one text of several, each with rows as
//! a JSON array: a step between this thread and that of the connection costs more than most statements.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use airouter_billing::batch::{BalanceChange, BalanceChanges, SlotChange, SlotChanges, SlotState};
use airouter_billing::budget::BudgetSlot;
use airouter_billing::ids::TransactionId;
use airouter_billing::posting::Posting;
use airouter_billing::{BudgetId, Nanos, RequestId, Timestamp};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use serde::Serialize;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, budget_columns, hex};

/// What there is to know before money changes.
#[derive(Debug)]
pub(crate) struct Books {
    /// The budgets that were asked for.
    pub(crate) slots: HashMap<BudgetSlot, SlotState>,
    /// Those of the requests that were asked for which are settled already.
    pub(crate) settled: HashSet<RequestId>,
    /// Those of them that were booked as a loss.
    pub(crate) lost: HashSet<RequestId>,
    /// The number of the next transaction of the ledger.
    pub(crate) next_transaction: i64,
}

struct BooksRow {
    position: i64,
    id: Option<Vec<u8>>,
    first: i64,
    second: Option<i64>,
}

/// Which rows of [`read`] are about settled requests.
const SETTLED: i64 = -1;
/// Which row of [`read`] is about the next transaction.
const NEXT_TRANSACTION: i64 = -2;

/// Reads the budgets as `replica` finds them, and which of the requests are settled.
pub(crate) async fn read(
    connection: &mut SqliteConnection,
    replica: Option<ReplicaId>,
    slots: &BTreeSet<BudgetSlot>,
    requests: impl Iterator<Item = RequestId>,
) -> Result<Books, StoreError> {
    let wanted = json(slots.iter().map(|slot| {
        let (kind, id) = budget_columns(slot.id);
        (kind, hex(id), slot.period_start)
    }))?;
    let requests = json(requests.map(|id| hex(id.get())))?;
    let replica = replica.map(ReplicaId::get);
    let rows = sqlx::query_as!(
        BooksRow,
        r#"SELECT wanted.position AS "position!: i64", NULL AS "id?: Vec<u8>",
            coalesce(l.amount, 0) AS "first!: i64",
            CASE wanted.kind
                WHEN 'balance' THEN (
                    SELECT balance_nanos + credit_line_nanos - reserved_nanos - coalesce((
                        SELECT a.balance_nanos FROM ledger_accounts a
                        WHERE a.kind = 'receivable' AND a.owner_id = wanted.id), 0)
                    FROM balances WHERE account_id = wanted.id)
                ELSE (
                    SELECT coalesce(b.cap, 9223372036854775807) - coalesce(p.spent + p.spent_before, 0)
                        - coalesce(p.reserved, 0)
                    FROM budgets b
                    LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period_start = wanted.period_start
                    WHERE b.id = wanted.id)
            END AS "second?: i64"
        FROM (
            SELECT key + 0 AS position, value ->> 0 AS kind, unhex(value ->> 1) AS id, value ->> 2 AS period_start
            FROM json_each($1)
        ) AS wanted
        LEFT JOIN leases l
            ON l.replica_id = $2 AND l.budget_id = wanted.id AND l.period_start = wanted.period_start
        UNION ALL
        SELECT -1, id, loss_reason IS NOT NULL, NULL FROM request_logs WHERE id IN (SELECT unhex(value) FROM json_each($3))
        UNION ALL
        SELECT -2, NULL, coalesce(max(id), 0) + 1, NULL FROM ledger_transactions"#,
        wanted,
        replica,
        requests
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    books(slots, rows)
}

fn books(slots: &BTreeSet<BudgetSlot>, rows: Vec<BooksRow>) -> Result<Books, StoreError> {
    let wanted: Vec<BudgetSlot> = slots.iter().copied().collect();
    let mut books = Books {
        slots: HashMap::with_capacity(wanted.len()),
        settled: HashSet::new(),
        lost: HashSet::new(),
        next_transaction: 1,
    };
    for row in rows {
        match row.position {
            SETTLED => {
                let id = row.id.unwrap_or_default();
                let id = RequestId::new(Column::new("request_logs", "id").uuid(&id)?);
                books.settled.insert(id);
                if row.first != 0 {
                    books.lost.insert(id);
                }
            }
            NEXT_TRANSACTION => books.next_transaction = row.first,
            position => {
                let slot = usize::try_from(position).ok().and_then(|at| wanted.get(at));
                if let Some(slot) = slot {
                    let state = SlotState {
                        leased: row.first,
                        free: row.second.unwrap_or(0),
                    };
                    books.slots.insert(*slot, state);
                }
            }
        }
    }
    Ok(books)
}

/// Why there is a transaction of the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TransactionKind<'a> {
    /// A batch of usage events.
    Usage,
    /// Usage events in place of losses of this transaction.
    Correction(TransactionId),
    /// A credit or a debit by the operator.
    Adjustment { reason: &'a str, actor: &'a str },
    /// Something given back of what this transaction charged.
    Refund {
        of: TransactionId,
        reason: &'a str,
        actor: &'a str,
    },
}

/// A transaction of the ledger, to be written.
#[derive(Debug)]
pub(crate) struct NewTransaction<'a> {
    pub(crate) number: i64,
    pub(crate) kind: TransactionKind<'a>,
    pub(crate) at: Timestamp,
    pub(crate) postings: Vec<Posting>,
}

/// Everything that one change of money writes.
#[derive(Debug, Default)]
pub(crate) struct Entry<'a> {
    pub(crate) transactions: Vec<NewTransaction<'a>>,
    /// Whose leases release what [`SlotChange`] says.
    pub(crate) replica: Option<ReplicaId>,
    pub(crate) slots: SlotChanges,
    pub(crate) balances: BalanceChanges,
}

/// Writes an entry that [`read`] has shown to be possible.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    entry: &Entry<'_>,
) -> Result<(), StoreError> {
    let transactions = json(entry.transactions.iter().map(transaction_row))?;
    let postings = json(entry.transactions.iter().flat_map(posting_rows))?;
    let leases = json(entry.slots.iter().filter_map(|(slot, change)| {
        let (_, id) = budget_columns(slot.id);
        (change.released != 0).then(|| (hex(id), slot.period_start, change.released))
    }))?;
    let caps = json(entry.slots.iter().filter_map(|(slot, change)| {
        let BudgetId::Cap(id) = slot.id else {
            return None;
        };
        let row = (hex(id), slot.period_start, change.spent, change.released);
        (*change != SlotChange::default()).then_some(row)
    }))?;
    let balances = json(balance_rows(entry))?;
    let replica = entry.replica.map(ReplicaId::get);
    sqlx::query_file!(
        "src/books_write.sql",
        transactions,
        postings,
        postings,
        leases,
        replica,
        caps,
        caps,
        balances
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

type TransactionRow<'a> = (
    i64,
    &'static str,
    Option<&'a str>,
    Option<&'a str>,
    Option<i64>,
    Timestamp,
);

fn transaction_row<'a>(transaction: &NewTransaction<'a>) -> TransactionRow<'a> {
    let (kind, reason, actor, corrects) = match transaction.kind {
        TransactionKind::Usage => ("usage", None, None, None),
        TransactionKind::Correction(of) => ("usage", None, None, Some(of.get())),
        TransactionKind::Adjustment { reason, actor } => {
            ("adjustment", Some(reason), Some(actor), None)
        }
        TransactionKind::Refund { of, reason, actor } => {
            ("adjustment", Some(reason), Some(actor), Some(of.get()))
        }
    };
    let NewTransaction { number, at, .. } = transaction;
    (*number, kind, reason, actor, corrects, *at)
}

fn posting_rows(
    transaction: &NewTransaction<'_>,
) -> impl Iterator<Item = (i64, &'static str, String, Nanos)> {
    transaction.postings.iter().map(|posting| {
        let owner = posting.account.owner().map(hex).unwrap_or_default();
        let kind = posting.account.kind();
        (transaction.number, kind, owner, posting.amount)
    })
}

/// Balances change by what is booked and by what leases release.
fn balance_rows(entry: &Entry<'_>) -> impl Iterator<Item = (String, i64, i64, i64, i64)> {
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
    rows.into_iter()
        .filter(|(_, row)| *row != (BalanceChange::default(), 0))
        .map(|(account, (change, released))| {
            let BalanceChange {
                balance,
                spent,
                earned,
            } = change;
            (hex(account), balance, released, spent, earned)
        })
}

fn json<Row: Serialize>(rows: impl Iterator<Item = Row>) -> Result<String, StoreError> {
    let rows: Vec<Row> = rows.collect();
    serde_json::to_string(&rows).map_err(|error| StoreError::Refused(Box::new(error)))
}
