//! Replicas: how they begin, how long they may be silent, and what becomes of their leases when they end.

use airouter_billing::Timestamp;
use airouter_billing::tenure::LeaseClock;
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use sqlx::PgConnection;

use crate::connection::failed;
use crate::convert::timestamptz;

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

/// Ends one replica, if it has not ended.
pub(crate) async fn end(
    connection: &mut PgConnection,
    replica: ReplicaId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ended = sqlx::query_scalar!(
        "UPDATE replicas SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING id",
        replica.get(),
        timestamptz(now)
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    end_leases(connection, &ended).await
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
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    end_leases(connection, &ended).await?;
    Ok(ended.into_iter().map(ReplicaId::new).collect())
}

/// Gives what the leases of ended replicas have left back to the budgets. No lease is added to them any more, and what
/// commits still take from them is seen, because it is read after the budgets were locked.
async fn end_leases(connection: &mut PgConnection, ended: &[i64]) -> Result<(), StoreError> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"SELECT count(*) AS "locked!" FROM (
            SELECT FROM (
                SELECT FROM balances
                WHERE account_id IN (
                    SELECT budget_id FROM leases WHERE replica_id = ANY ($1) AND budget_kind = 'balance')
                ORDER BY account_id FOR NO KEY UPDATE
            ) AS balance
            UNION ALL
            SELECT FROM (
                SELECT FROM budget_periods
                WHERE (budget_id, period_start) IN (
                    SELECT budget_id, period_start FROM leases WHERE replica_id = ANY ($1) AND budget_kind = 'cap')
                ORDER BY budget_id, period_start FOR NO KEY UPDATE
            ) AS period
        ) AS locked"#,
        ended
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "WITH ended AS (
            DELETE FROM leases WHERE replica_id = ANY ($1) RETURNING budget_kind, budget_id, period_start, amount
        ),
        given_back AS (
            SELECT budget_kind, budget_id, period_start, sum(amount)::bigint AS amount FROM ended
            GROUP BY budget_kind, budget_id, period_start
        ),
        balances_given_back AS (
            UPDATE balances SET reserved_nanos = reserved_nanos - given_back.amount
            FROM given_back WHERE given_back.budget_kind = 'balance' AND account_id = given_back.budget_id
        )
        UPDATE budget_periods p SET reserved = p.reserved - given_back.amount
        FROM given_back
        WHERE given_back.budget_kind = 'cap' AND p.budget_id = given_back.budget_id
            AND p.period_start = given_back.period_start",
        ended
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
