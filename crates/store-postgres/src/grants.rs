//! Grants of leases: all who wait are answered in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use airouter_billing::BudgetId;
use airouter_billing::budget::BudgetSlot;
use airouter_billing::lease::grant;
use airouter_store::StoreError;
use airouter_store::leases::{LeaseRequest, Leased, ReplicaId};
use sqlx::PgConnection;

use crate::books;
use crate::connection::failed;
use crate::convert::timestamptz;
use crate::dedicated::{begin, finish};
use crate::lane::{Repeat, Work};

/// One replica's request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) replica: ReplicaId,
    pub(crate) request: LeaseRequest,
}

/// The lane of grants.
#[derive(Debug)]
pub(crate) struct Grants;

impl Work for Grants {
    type Question = Asked;
    /// `None`: the replica has ended.
    type Answer = Option<Leased>;

    const REPEAT: Repeat = Repeat::Unsafe;

    async fn answer(
        &mut self,
        connection: &mut PgConnection,
        questions: &[Asked],
    ) -> Result<Vec<Option<Leased>>, StoreError> {
        let mut transaction = begin(connection).await?;
        let granted = grant_all(&mut transaction, questions).await;
        finish(transaction, granted).await
    }
}

async fn grant_all(
    connection: &mut PgConnection,
    questions: &[Asked],
) -> Result<Vec<Option<Leased>>, StoreError> {
    let running = lock_running(connection, questions).await?;
    let asked = |replica: Option<ReplicaId>| -> BTreeSet<BudgetSlot> {
        questions
            .iter()
            .filter(|asked| replica.is_none_or(|replica| asked.replica == replica))
            .map(|asked| asked.request.slot)
            .collect()
    };
    books::lock(connection, &asked(None), std::iter::empty()).await?;
    let mut answers = vec![None; questions.len()];
    for replica in running {
        let slots = asked(Some(replica));
        let mut books = books::read(connection, replica, &slots, std::iter::empty()).await?;
        let mut reserved: BTreeMap<BudgetSlot, i64> = BTreeMap::new();
        for (asked, answer) in questions.iter().zip(&mut answers) {
            if asked.replica != replica {
                continue;
            }
            let LeaseRequest {
                slot,
                at_least,
                wish,
            } = asked.request;
            let state = books.slots.entry(slot).or_default();
            let granted = grant(state.free, at_least, wish);
            state.free -= granted.amount;
            if granted.amount > 0 {
                *reserved.entry(slot).or_default() += granted.amount;
            }
            *answer = Some(Leased {
                grant: granted,
                elsewhere: books.elsewhere.get(&slot).copied().unwrap_or(0),
            });
        }
        reserve(connection, replica, &reserved).await?;
    }
    Ok(answers)
}

/// Those of the asking replicas that run; nobody ends them before this transaction does.
async fn lock_running(
    connection: &mut PgConnection,
    questions: &[Asked],
) -> Result<Vec<ReplicaId>, StoreError> {
    let replicas: BTreeSet<ReplicaId> = questions.iter().map(|asked| asked.replica).collect();
    let replicas: Vec<i64> = replicas.into_iter().map(ReplicaId::get).collect();
    let running = sqlx::query_scalar!(
        "SELECT id FROM replicas WHERE id = ANY ($1) AND ended_at IS NULL ORDER BY id FOR SHARE",
        &replicas
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(running.into_iter().map(ReplicaId::new).collect())
}

/// Reserves amounts for the replica. The database refuses what is more than is free.
async fn reserve(
    connection: &mut PgConnection,
    replica: ReplicaId,
    amounts: &BTreeMap<BudgetSlot, i64>,
) -> Result<(), StoreError> {
    if amounts.is_empty() {
        return Ok(());
    }
    let mut are_balances = Vec::with_capacity(amounts.len());
    let mut ids = Vec::with_capacity(amounts.len());
    let mut starts = Vec::with_capacity(amounts.len());
    for slot in amounts.keys() {
        let (is_balance, id) = match slot.id {
            BudgetId::Balance(account) => (true, account.get()),
            BudgetId::Cap(budget) => (false, budget),
        };
        are_balances.push(is_balance);
        ids.push(id);
        starts.push(timestamptz(slot.period_start));
    }
    let amounts: Vec<i64> = amounts.values().copied().collect();
    sqlx::query!(
        "WITH wanted AS (
            SELECT * FROM unnest($2::boolean[], $3::uuid[], $4::timestamptz[], $5::bigint[])
                AS wanted (is_balance, id, period_start, amount)
        ),
        balances_reserved AS (
            UPDATE balances SET reserved_nanos = reserved_nanos + wanted.amount
            FROM wanted WHERE wanted.is_balance AND account_id = wanted.id
        ),
        periods_reserved AS (
            UPDATE budget_periods p SET reserved = p.reserved + wanted.amount
            FROM wanted
            WHERE NOT wanted.is_balance AND p.budget_id = wanted.id AND p.period_start = wanted.period_start
        )
        INSERT INTO leases (replica_id, budget_kind, budget_id, period_start, amount)
        SELECT $1, CASE WHEN is_balance THEN 'balance' ELSE 'cap' END, id, period_start, amount FROM wanted
        ON CONFLICT (replica_id, budget_id, period_start) DO UPDATE SET amount = leases.amount + excluded.amount",
        replica.get(),
        &are_balances,
        &ids,
        &starts,
        &amounts
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
