//! Replicas: how they begin, how long they may be silent, and what becomes of their leases when they end.

use airouter_billing::budget::BudgetSlot;
use airouter_billing::tenure::LeaseClock;
use airouter_billing::{AccountId, BudgetId, Timestamp};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use sqlx::PgConnection;

use crate::books;
use crate::connection::failed;
use crate::convert::timestamptz;

/// So many leases go back in one transaction.
const LEASES_TOGETHER: i64 = 1_000;

/// Ticks the clock of leases by the database's own, and keeps it until the end of the transaction.
pub(crate) async fn tick(connection: &mut PgConnection) -> Result<LeaseClock, StoreError> {
    let row = sqlx::query!(
        r#"SELECT elapsed_micros, ticked_at, clock_timestamp() AS "now!" FROM lease_clock FOR UPDATE"#
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let clock = LeaseClock {
        elapsed: row.elapsed_micros,
        ticked_at: row.ticked_at.into(),
    };
    let clock = clock.tick(row.now.into());
    sqlx::query!(
        "UPDATE lease_clock SET elapsed_micros = $1, ticked_at = $2",
        clock.elapsed,
        timestamptz(clock.ticked_at)
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(clock)
}

/// Registers a replica. One at a time, because of the clock; and because the number is not below the time, a database
/// that was restored from a backup hands out none that it has forgotten.
pub(crate) async fn register(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<ReplicaId, StoreError> {
    let clock = tick(connection).await?;
    let number = sqlx::query_scalar!(
        "INSERT INTO replicas (id, started_at, lease_ends)
        SELECT greatest(coalesce(max(id), 0) + 1, $1), $2, $3 FROM replicas
        RETURNING id",
        clock.ticked_at.as_micros(),
        timestamptz(now),
        clock.lease_ends()
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(ReplicaId::new(number))
}

/// Renews all leases of a replica, and drops those that have nothing left.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    replica: ReplicaId,
) -> Result<(), StoreError> {
    let clock = tick(connection).await?;
    let renewed = sqlx::query!(
        "UPDATE replicas SET lease_ends = greatest(lease_ends, $2) WHERE id = $1 AND ended_at IS NULL",
        replica.get(),
        clock.lease_ends()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if renewed.rows_affected() == 0 {
        return Err(StoreError::Fenced);
    }
    sqlx::query!(
        "DELETE FROM leases WHERE replica_id = $1 AND amount = 0",
        replica.get()
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Ends one replica, if it has not ended. Its leases go back afterwards, part by part.
pub(crate) async fn end(
    connection: &mut PgConnection,
    replica: ReplicaId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE replicas SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL",
        replica.get(),
        timestamptz(now)
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Ends the replicas that were silent for too long; those that somebody else is just ending, or that just renew, are
/// left to that.
pub(crate) async fn end_silent(
    connection: &mut PgConnection,
    clock: LeaseClock,
    now: Timestamp,
) -> Result<Vec<ReplicaId>, StoreError> {
    let ended = sqlx::query_scalar!(
        "UPDATE replicas SET ended_at = $2
        WHERE id IN (
            SELECT id FROM replicas WHERE ended_at IS NULL AND lease_ends <= $1
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
        )
        RETURNING id",
        clock.given_back_until(),
        timestamptz(now)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(ended.into_iter().map(ReplicaId::new).collect())
}

/// Replicas that have ended and still have leases: whoever ended them may have been stopped in the middle. (It goes from
/// one replica with leases to the next: there are few of them, and many that have ended.)
pub(crate) async fn ended_with_leases(
    connection: &mut PgConnection,
) -> Result<Vec<i64>, StoreError> {
    sqlx::query_scalar!(
        r#"WITH RECURSIVE holders AS (
            SELECT min(replica_id) AS id FROM leases
            UNION ALL
            SELECT (SELECT min(l.replica_id) FROM leases l WHERE l.replica_id > holders.id)
            FROM holders WHERE holders.id IS NOT NULL
        )
        SELECT replicas.id FROM holders JOIN replicas ON replicas.id = holders.id
        WHERE replicas.ended_at IS NOT NULL ORDER BY replicas.id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}

/// Gives what the next leases of an ended replica have left back to their budgets; a part of them, so that however many
/// there are, nobody waits long, and whoever is stopped has done what is done. Returns whether there may be more. No lease
/// is added to them any more; what commits take from them at the same time, or others give back, is seen, because it is
/// read after the budgets were locked.
pub(crate) async fn give_part_back(
    connection: &mut PgConnection,
    ended: i64,
) -> Result<Remaining, StoreError> {
    let leases = sqlx::query!(
        r#"SELECT budget_kind = 'balance' AS "is_balance!", budget_id, period_start FROM leases
        WHERE replica_id = $1 ORDER BY replica_id, budget_id, period_start LIMIT $2"#,
        ended,
        LEASES_TOGETHER
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let is_last = i64::try_from(leases.len()).unwrap_or(i64::MAX) < LEASES_TOGETHER;
    let slots = leases
        .iter()
        .map(|lease| BudgetSlot {
            id: if lease.is_balance {
                BudgetId::Balance(AccountId::new(lease.budget_id))
            } else {
                BudgetId::Cap(lease.budget_id)
            },
            period_start: lease.period_start.into(),
        })
        .collect();
    books::lock(connection, &slots, std::iter::empty()).await?;
    let (ids, starts): (Vec<_>, Vec<_>) = leases
        .iter()
        .map(|lease| (lease.budget_id, lease.period_start))
        .unzip();
    sqlx::query!(
        "WITH given_back AS (
            DELETE FROM leases USING unnest($2::uuid[], $3::timestamptz[]) AS part (id, period_start)
            WHERE replica_id = $1 AND leases.budget_id = part.id AND leases.period_start = part.period_start
            RETURNING leases.budget_kind, leases.budget_id, leases.period_start, leases.amount
        ),
        balances_given_back AS (
            UPDATE balances SET reserved_nanos = reserved_nanos - given_back.amount
            FROM given_back WHERE given_back.budget_kind = 'balance' AND account_id = given_back.budget_id
        )
        UPDATE budget_periods p SET reserved = p.reserved - given_back.amount
        FROM given_back
        WHERE given_back.budget_kind = 'cap' AND p.budget_id = given_back.budget_id
            AND p.period_start = given_back.period_start",
        ended,
        &ids,
        &starts
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(if is_last {
        Remaining::None
    } else {
        Remaining::Some
    })
}

/// Whether leases may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remaining {
    None,
    Some,
}
