//! Keys for repeats.

use std::collections::{HashMap, HashSet};

use airouter_auth::SealedSecret;
use airouter_billing::idempotency::{BookedUsage, KEPT_SECONDS, ReplicaState};
use airouter_billing::{Nanos, RequestId, Timestamp};
use airouter_store::StoreError;
use airouter_store::idempotency::{
    Claim, Claimed, FinishedClaim, Idempotency, IdempotencySlot, NewClaim, RequestFingerprint,
    TakenKey, answer_claims,
};
use airouter_store::leases::ReplicaId;
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::connection::{begin, failed};
use crate::convert::{Column, hex, hex_bytes};
use crate::open::SqliteStore;

#[async_trait]
impl Idempotency for SqliteStore {
    async fn claim(
        &self,
        replica: ReplicaId,
        claims: &[NewClaim],
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let inserted = insert(&mut transaction, replica, claims, now).await?;
        let answers = if inserted == claims.len() {
            vec![Claimed::Granted; claims.len()]
        } else {
            let taken = read(&mut transaction, claims).await?;
            let (answers, changes) = answer_claims(claims, taken, now);
            hand_over(&mut transaction, replica, &changes, now).await?;
            answers
        };
        transaction.commit().await.map_err(failed)?;
        Ok(answers)
    }

    async fn release(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let rows = claims
            .iter()
            .map(|claim| (hex_bytes(claim.slot.as_bytes()), hex(claim.request.get())));
        let rows = serde_json::json!(rows.collect::<Vec<_>>()).to_string();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "DELETE FROM idempotency_keys WHERE (slot, request_id) IN (
                SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each($1))",
            rows
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }

    // Keys of requests that may yet be charged are not forgotten: a repeat would be a second charge.
    async fn sweep_claims(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let now = now.as_micros();
        let mut writer = self.writer().await?;
        let swept = sqlx::query!(
            "DELETE FROM idempotency_keys WHERE slot IN (
                SELECT slot FROM idempotency_keys k WHERE expires_at <= $1
                    AND NOT EXISTS (
                        SELECT 1 FROM pending_requests p WHERE p.id = k.request_id AND p.reason = 'usage_unknown')
                    AND NOT EXISTS (SELECT 1 FROM unbooked_refusals s WHERE s.request_id = k.request_id)
                    AND (EXISTS (SELECT 1 FROM request_logs r WHERE r.id = k.request_id)
                        OR NOT EXISTS (SELECT 1 FROM replicas WHERE id = k.replica_id AND ended_at IS NULL))
                ORDER BY expires_at LIMIT $2)",
            now,
            limit
        )
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
        Ok(u32::try_from(swept.rows_affected()).unwrap_or(u32::MAX))
    }
}

/// Claims as a JSON array of slot, fingerprint and request.
fn rows_of(claims: &[NewClaim]) -> String {
    let rows: Vec<_> = claims
        .iter()
        .map(|claim| {
            (
                hex_bytes(claim.slot.as_bytes()),
                hex_bytes(claim.fingerprint.as_bytes()),
                hex(claim.request.get()),
            )
        })
        .collect();
    serde_json::json!(rows).to_string()
}

/// Claims what nobody has; returns how many.
async fn insert(
    connection: &mut SqliteConnection,
    replica: ReplicaId,
    claims: &[NewClaim],
    now: Timestamp,
) -> Result<usize, StoreError> {
    let rows = rows_of(claims);
    let replica = replica.get();
    let expiry = now.plus_seconds(KEPT_SECONDS).as_micros();
    let inserted = sqlx::query!(
        "INSERT INTO idempotency_keys (slot, fingerprint, request_id, replica_id, expires_at)
        SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), $2, $3 FROM json_each($1) WHERE true
        ON CONFLICT (slot) DO NOTHING",
        rows,
        replica,
        expiry
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(usize::try_from(inserted.rows_affected()).unwrap_or(usize::MAX))
}

async fn hand_over(
    connection: &mut SqliteConnection,
    replica: ReplicaId,
    changes: &[NewClaim],
    now: Timestamp,
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let rows = rows_of(changes);
    let replica = replica.get();
    let expiry = now.plus_seconds(KEPT_SECONDS).as_micros();
    sqlx::query!(
        "UPDATE idempotency_keys
        SET fingerprint = unhex(claim.value ->> 1), request_id = unhex(claim.value ->> 2), replica_id = $2,
            expires_at = $3, sealed_answer = NULL
        FROM json_each($1) AS claim WHERE slot = unhex(claim.value ->> 0)",
        rows,
        replica,
        expiry
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn read(
    connection: &mut SqliteConnection,
    claims: &[NewClaim],
) -> Result<HashMap<IdempotencySlot, TakenKey>, StoreError> {
    let slots = slots_of(claims.iter().map(|claim| claim.slot));
    let rows = sqlx::query!(
        r#"SELECT k.slot AS "slot!: Vec<u8>", k.fingerprint, k.request_id, k.sealed_answer, k.expires_at,
            coalesce(c.charged_nanos, r.charged_nanos) AS "charged?: i64",
            CASE WHEN c.id IS NULL THEN r.loss_reason END AS "loss_reason?: String",
            (k.request_id IN (SELECT id FROM pending_requests WHERE reason = 'usage_unknown')
                OR k.request_id IN (SELECT request_id FROM unbooked_refusals)) AS "is_open!: bool",
            k.replica_id IN (SELECT id FROM replicas WHERE ended_at IS NULL) AS "is_running!: bool"
        FROM idempotency_keys k LEFT JOIN request_logs r ON r.id = k.request_id
            LEFT JOIN request_corrections c ON c.id = k.request_id
        WHERE k.slot IN (SELECT unhex(value) FROM json_each($1))"#,
        slots
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("idempotency_keys", name);
    rows.into_iter()
        .map(|row| {
            let request = column("request_id").uuid(&row.request_id)?;
            let bytes = |name, bytes: Vec<u8>| {
                <[u8; 32]>::try_from(bytes).map_err(|_| column(name).corrupt(request))
            };
            let usage = match (row.charged, row.loss_reason) {
                (Some(_), Some(_)) if !row.is_open => BookedUsage::Lost,
                (Some(charged), None) => BookedUsage::Charged(Nanos::new(charged)),
                _ if row.is_open => BookedUsage::Open,
                _ => BookedUsage::Nothing,
            };
            let key = TakenKey {
                fingerprint: RequestFingerprint::new(bytes("fingerprint", row.fingerprint)?),
                request: RequestId::new(request),
                usage,
                replica: if row.is_running {
                    ReplicaState::Running
                } else {
                    ReplicaState::Ended
                },
                answer: row.sealed_answer.map(SealedSecret::from_bytes),
                expires_at: Timestamp::from_micros(row.expires_at),
            };
            Ok((IdempotencySlot::new(bytes("slot", row.slot)?), key))
        })
        .collect()
}

fn slots_of(slots: impl Iterator<Item = IdempotencySlot>) -> String {
    let slots: Vec<String> = slots.map(|slot| hex_bytes(slot.as_bytes())).collect();
    serde_json::json!(slots).to_string()
}

/// Those requests that are to be committed whose keys have gone to others.
pub(crate) async fn superseded(
    connection: &mut SqliteConnection,
    finished: &[FinishedClaim],
) -> Result<HashSet<RequestId>, StoreError> {
    if finished.is_empty() {
        return Ok(HashSet::new());
    }
    let slots = slots_of(finished.iter().map(|one| one.claim.slot));
    let rows = sqlx::query!(
        r#"SELECT slot AS "slot!: Vec<u8>", request_id FROM idempotency_keys
        WHERE slot IN (SELECT unhex(value) FROM json_each($1))"#,
        slots
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let owners: HashMap<Vec<u8>, Vec<u8>> = rows
        .into_iter()
        .map(|row| (row.slot, row.request_id))
        .collect();
    Ok(finished
        .iter()
        .map(|one| one.claim)
        .filter(|claim| {
            let owner = owners.get(claim.slot.as_bytes().as_slice());
            owner.is_some_and(|owner| owner != claim.request.get().as_bytes())
        })
        .map(|claim| claim.request)
        .collect())
}

/// Keeps the answers of requests that are committed now, for as long as keys are remembered. `lost` ones have none.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    finished: &[FinishedClaim],
    lost: &HashSet<RequestId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<_> = finished
        .iter()
        .filter(|one| !lost.contains(&one.claim.request))
        .map(|FinishedClaim { claim, answer }| {
            (
                hex_bytes(claim.slot.as_bytes()),
                hex(claim.request.get()),
                answer.as_ref().map(|answer| hex_bytes(answer.as_bytes())),
            )
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = serde_json::json!(rows).to_string();
    let expiry = now.plus_seconds(KEPT_SECONDS).as_micros();
    sqlx::query!(
        "UPDATE idempotency_keys
        SET sealed_answer = coalesce(unhex(finished.value ->> 2), sealed_answer), expires_at = $2
        FROM json_each($1) AS finished
        WHERE slot = unhex(finished.value ->> 0) AND request_id = unhex(finished.value ->> 1)",
        rows,
        expiry
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
