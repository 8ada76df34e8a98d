//! Leases: the leases of a replica end together, when another one takes over. They have no other end: whoever holds the
//! lock of the file is the only owner, however long it slept.

use std::collections::BTreeSet;

use airouter_billing::batch::SlotChanges;
use airouter_billing::budget::BudgetSlot;
use airouter_billing::lease::grant;
use airouter_billing::tenure::LEASE_SECONDS;
use airouter_billing::{BudgetId, Timestamp};
use airouter_store::StoreError;
use airouter_store::leases::{LeaseRequest, Leased, Leases, ReplicaId};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::books::{self, Entry};
use crate::changes;
use crate::connection::{begin, failed};
use crate::convert::budget_columns;
use crate::open::SqliteStore;

/// So many leases go back in one transaction.
const LEASES_TOGETHER: u32 = 1_000;

#[async_trait]
impl Leases for SqliteStore {
    async fn register_replica(&self, now: Timestamp) -> Result<ReplicaId, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let at = now.as_micros();
        sqlx::query!(
            "UPDATE replicas SET ended_at = $1 WHERE ended_at IS NULL",
            at
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        end_leases(&mut transaction).await?;
        changes::prune(&mut transaction).await?;
        let expires_at = now.plus_seconds(LEASE_SECONDS).as_micros();
        let replica = sqlx::query!(
            "INSERT INTO replicas (id, started_at, expires_at)
            SELECT max(coalesce(max(id), 0) + 1, $1), $1, $2 FROM replicas",
            at,
            expires_at
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?
        .last_insert_rowid();
        transaction.commit().await.map_err(failed)?;
        Ok(ReplicaId::new(replica))
    }

    async fn lease(
        &self,
        replica: ReplicaId,
        request: LeaseRequest,
        now: Timestamp,
    ) -> Result<Leased, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let is_running = keep_alive(&mut transaction, replica, now).await?;
        let granted = if is_running {
            let slot = request.slot;
            let wanted = BTreeSet::from([slot]);
            let books =
                books::read(&mut transaction, Some(replica), &wanted, std::iter::empty()).await?;
            let free = books.slots.get(&slot).map_or(0, |state| state.free);
            let granted = grant(free, request.at_least, request.wish);
            if granted.amount > 0 {
                reserve(&mut transaction, replica, slot, granted.amount).await?;
            }
            // The file has one owner.
            Ok(Leased {
                grant: granted,
                elsewhere: 0,
            })
        } else {
            Err(StoreError::Fenced)
        };
        transaction.commit().await.map_err(failed)?;
        granted
    }

    async fn give_back(
        &self,
        replica: ReplicaId,
        amounts: &[(BudgetSlot, i64)],
    ) -> Result<(), StoreError> {
        if amounts.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let slots = amounts.iter().map(|(slot, _)| *slot).collect();
        let mut books =
            books::read(&mut transaction, Some(replica), &slots, std::iter::empty()).await?;
        let mut changes = SlotChanges::new();
        for (slot, amount) in amounts {
            let Some(state) = books.slots.get_mut(slot) else {
                continue;
            };
            let released = (*amount).clamp(0, state.leased.max(0));
            state.leased -= released;
            changes.entry(*slot).or_default().released += released;
        }
        let entry = Entry {
            replica: Some(replica),
            slots: changes,
            ..Entry::default()
        };
        books::write(&mut transaction, &entry).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn renew(&self, replica: ReplicaId, now: Timestamp) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let is_running = keep_alive(&mut transaction, replica, now).await?;
        let number = replica.get();
        sqlx::query!(
            "DELETE FROM leases WHERE replica_id = $1 AND amount = 0",
            number
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        changes::prune(&mut transaction).await?;
        transaction.commit().await.map_err(failed)?;
        if is_running {
            Ok(())
        } else {
            Err(StoreError::Fenced)
        }
    }

    async fn end_replica(&self, replica: ReplicaId, now: Timestamp) -> Result<(), StoreError> {
        let (number, at) = (replica.get(), now.as_micros());
        let mut writer = self.writer().await?;
        sqlx::query!(
            "UPDATE replicas SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL",
            number,
            at
        )
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
        drop(writer);
        // From here on no lease is added to them. However many there are, others get their turn in between, and whoever is
        // stopped has done what is done.
        loop {
            let mut writer = self.writer().await?;
            let mut transaction = begin(&mut writer).await?;
            let given_back = give_part_back(&mut transaction, replica).await?;
            transaction.commit().await.map_err(failed)?;
            if given_back < u64::from(LEASES_TOGETHER) {
                return Ok(());
            }
        }
    }

    async fn end_silent_replicas(&self, _now: Timestamp) -> Result<Vec<ReplicaId>, StoreError> {
        Ok(Vec::new())
    }
}

/// Notes that the replica runs; `false` when another one took over.
async fn keep_alive(
    connection: &mut SqliteConnection,
    replica: ReplicaId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let number = replica.get();
    let expires_at = now.plus_seconds(LEASE_SECONDS).as_micros();
    let kept = sqlx::query!(
        "UPDATE replicas SET expires_at = max(expires_at, $2)
        WHERE id = $1 AND ended_at IS NULL",
        number,
        expires_at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    Ok(kept.rows_affected() > 0)
}

/// Returns what the next leases of an ended replica have reserved, and how many there were.
async fn give_part_back(
    connection: &mut SqliteConnection,
    ended: ReplicaId,
) -> Result<u64, StoreError> {
    let number = ended.get();
    sqlx::query!(
        "UPDATE balances SET reserved_nanos = reserved_nanos - part.amount
        FROM (
            SELECT budget_kind, budget_id, amount FROM leases WHERE replica_id = $1
            ORDER BY budget_id, period_start LIMIT $2
        ) AS part
        WHERE part.budget_kind = 'balance' AND balances.account_id = part.budget_id",
        number,
        LEASES_TOGETHER
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE budget_periods SET reserved = reserved - part.amount
        FROM (
            SELECT budget_kind, budget_id, period_start, amount FROM leases WHERE replica_id = $1
            ORDER BY budget_id, period_start LIMIT $2
        ) AS part
        WHERE part.budget_kind = 'cap' AND budget_periods.budget_id = part.budget_id
            AND budget_periods.period_start = part.period_start",
        number,
        LEASES_TOGETHER
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let deleted = sqlx::query!(
        "DELETE FROM leases WHERE replica_id = $1 AND (budget_id, period_start) IN (
            SELECT budget_id, period_start FROM leases WHERE replica_id = $1
            ORDER BY budget_id, period_start LIMIT $2)",
        number,
        LEASES_TOGETHER
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

/// Returns what the leases of ended replicas have reserved.
async fn end_leases(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE balances SET reserved_nanos = reserved_nanos - ended.amount
        FROM (
            SELECT budget_id, sum(amount) AS amount FROM leases
            WHERE budget_kind = 'balance' AND replica_id IN (SELECT id FROM replicas WHERE ended_at IS NOT NULL)
            GROUP BY budget_id
        ) AS ended
        WHERE balances.account_id = ended.budget_id"
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE budget_periods SET reserved = reserved - ended.amount
        FROM (
            SELECT budget_id, period_start, sum(amount) AS amount FROM leases
            WHERE budget_kind = 'cap' AND replica_id IN (SELECT id FROM replicas WHERE ended_at IS NOT NULL)
            GROUP BY budget_id, period_start
        ) AS ended
        WHERE budget_periods.budget_id = ended.budget_id AND budget_periods.period_start = ended.period_start"
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "DELETE FROM leases WHERE replica_id IN (SELECT id FROM replicas WHERE ended_at IS NOT NULL)"
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Reserves `amount` for the replica. The database refuses it where it is more than is free.
async fn reserve(
    connection: &mut SqliteConnection,
    replica: ReplicaId,
    slot: BudgetSlot,
    amount: i64,
) -> Result<(), StoreError> {
    let (kind, id) = budget_columns(slot.id);
    let (number, period_start) = (replica.get(), slot.period_start.as_micros());
    match slot.id {
        BudgetId::Balance(_) => {
            sqlx::query!(
                "UPDATE balances SET reserved_nanos = reserved_nanos + $2 WHERE account_id = $1",
                id,
                amount
            )
            .execute(&mut *connection)
            .await
        }
        BudgetId::Cap(_) => {
            sqlx::query!(
                "INSERT INTO budget_periods (budget_id, period_start, reserved) VALUES ($1, $2, $3)
                ON CONFLICT DO UPDATE SET reserved = reserved + excluded.reserved",
                id,
                period_start,
                amount
            )
            .execute(&mut *connection)
            .await
        }
    }
    .map_err(failed)?;
    sqlx::query!(
        "INSERT INTO leases (replica_id, budget_kind, budget_id, period_start, amount) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        number,
        kind,
        id,
        period_start,
        amount
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
