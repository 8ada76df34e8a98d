//! Keys for repeats: claimed on a connection of their own, so that a request that brings one waits for nobody's work but
//! that of its like; one statement where all keys are new.

use std::collections::{BTreeMap, HashMap, HashSet};

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
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, timestamptz};
use crate::dedicated::{begin, bounded, finish};
use crate::open::PostgresStore;

/// How often claims are tried again whose keys were forgotten while they were looked at.
const ATTEMPTS: u32 = 4;

#[async_trait]
impl Idempotency for PostgresStore {
    async fn claim(
        &self,
        replica: ReplicaId,
        claims: &[NewClaim],
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let mut lent = self.claims.lend().await?;
        let outcome = bounded(claim(&mut lent, replica, claims, now)).await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn release(&self, claims: &[Claim]) -> Result<(), StoreError> {
        if claims.is_empty() {
            return Ok(());
        }
        let mut lent = self.claims.lend().await?;
        let outcome = bounded(release(&mut lent, claims)).await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn sweep_claims(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.on_pool(async |connection| sweep(connection, now, limit).await)
            .await
    }
}

async fn claim(
    connection: &mut PgConnection,
    replica: ReplicaId,
    claims: &[NewClaim],
    now: Timestamp,
) -> Result<Vec<Claimed>, StoreError> {
    for _ in 0..ATTEMPTS {
        if insert(connection, replica, claims, now).await? == claims.len() {
            return Ok(vec![Claimed::Granted; claims.len()]);
        }
        let mut transaction = begin(connection).await?;
        let answered = answer(&mut transaction, replica, claims, now).await;
        if let Some(answers) = finish(transaction, answered).await? {
            return Ok(answers);
        }
    }
    Err(StoreError::Unavailable(
        "keys change faster than they can be claimed".into(),
    ))
}

/// Claims what nobody has; returns how many.
async fn insert(
    connection: &mut PgConnection,
    replica: ReplicaId,
    claims: &[NewClaim],
    now: Timestamp,
) -> Result<usize, StoreError> {
    let columns = Columns::of(claims);
    let inserted = sqlx::query!(
        "INSERT INTO idempotency_keys (slot, fingerprint, request_id, replica_id, expires_at)
        SELECT slot, fingerprint, request_id, $4, $5
        FROM unnest($1::bytea[], $2::bytea[], $3::uuid[]) AS claim (slot, fingerprint, request_id)
        ORDER BY slot
        ON CONFLICT (slot) DO NOTHING",
        &columns.slots as _,
        &columns.fingerprints as _,
        &columns.requests,
        replica.get(),
        timestamptz(now.plus_seconds(KEPT_SECONDS))
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(usize::try_from(inserted.rows_affected()).unwrap_or(usize::MAX))
}

/// Answers by what is known of the keys that are taken, which stay locked; `None` when one of them was forgotten before
/// it was locked.
async fn answer(
    connection: &mut PgConnection,
    replica: ReplicaId,
    claims: &[NewClaim],
    now: Timestamp,
) -> Result<Option<Vec<Claimed>>, StoreError> {
    let slots = claims.iter().map(|claim| claim.slot);
    lock_slots(connection, slots.clone()).await?;
    // Read after they were locked: who commits a request of theirs locks them too.
    let taken = read(connection, slots).await?;
    let (answers, changes) = answer_claims(claims, taken, now);
    if changes.is_empty() {
        return Ok(Some(answers));
    }
    let columns = Columns::of(&changes);
    let changed = sqlx::query!(
        "UPDATE idempotency_keys k
        SET fingerprint = claim.fingerprint, request_id = claim.request_id, replica_id = $4, expires_at = $5,
            sealed_answer = NULL
        FROM unnest($1::bytea[], $2::bytea[], $3::uuid[]) AS claim (slot, fingerprint, request_id)
        WHERE k.slot = claim.slot",
        &columns.slots as _,
        &columns.fingerprints as _,
        &columns.requests,
        replica.get(),
        timestamptz(now.plus_seconds(KEPT_SECONDS))
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    let are_all = usize::try_from(changed.rows_affected()) == Ok(changes.len());
    Ok(are_all.then_some(answers))
}

/// Claims as columns.
struct Columns<'a> {
    slots: Vec<&'a [u8]>,
    fingerprints: Vec<&'a [u8]>,
    requests: Vec<Uuid>,
}

impl<'a> Columns<'a> {
    fn of(claims: &'a [NewClaim]) -> Self {
        let columns = claims.iter().map(|claim| {
            let slot = claim.slot.as_bytes().as_slice();
            let fingerprint = claim.fingerprint.as_bytes().as_slice();
            (slot, (fingerprint, claim.request.get()))
        });
        let (slots, (fingerprints, requests)) = columns.unzip();
        Self {
            slots,
            fingerprints,
            requests,
        }
    }
}

/// Locks keys in their order, and says whose they are.
async fn lock_slots(
    connection: &mut PgConnection,
    slots: impl Iterator<Item = IdempotencySlot>,
) -> Result<HashMap<Vec<u8>, RequestId>, StoreError> {
    let slots: Vec<Vec<u8>> = slots.map(|slot| slot.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        "SELECT slot, request_id FROM idempotency_keys WHERE slot = ANY ($1) ORDER BY slot FOR UPDATE",
        &slots
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|row| (row.slot, RequestId::new(row.request_id)))
        .collect())
}

async fn read(
    connection: &mut PgConnection,
    slots: impl Iterator<Item = IdempotencySlot>,
) -> Result<HashMap<IdempotencySlot, TakenKey>, StoreError> {
    let slots: Vec<Vec<u8>> = slots.map(|slot| slot.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        r#"SELECT k.slot AS "slot!", k.fingerprint AS "fingerprint!", k.request_id AS "request_id!", k.sealed_answer,
            k.expires_at AS "expires_at!", coalesce(c.charged_nanos, r.charged_nanos) AS "charged?",
            CASE WHEN c.id IS NULL THEN r.loss_reason END AS "loss_reason?",
            (EXISTS (SELECT FROM pending_requests p WHERE p.id = k.request_id AND p.reason = 'usage_unknown')
                OR EXISTS (SELECT FROM unbooked_refusals s WHERE s.request_id = k.request_id)) AS "is_open!",
            EXISTS (SELECT FROM replicas WHERE replicas.id = k.replica_id AND ended_at IS NULL) AS "is_running!"
        FROM idempotency_keys k LEFT JOIN request_logs r ON r.id = k.request_id
            LEFT JOIN request_corrections c ON c.id = k.request_id
        WHERE k.slot = ANY ($1)"#,
        &slots
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("idempotency_keys", name);
    rows.into_iter()
        .map(|row| {
            let bytes = |name, bytes: Vec<u8>| {
                <[u8; 32]>::try_from(bytes).map_err(|_| column(name).corrupt(row.request_id))
            };
            let usage = match (row.charged, row.loss_reason) {
                (Some(_), Some(_)) if !row.is_open => BookedUsage::Lost,
                (Some(charged), None) => BookedUsage::Charged(Nanos::new(charged)),
                _ if row.is_open => BookedUsage::Open,
                _ => BookedUsage::Nothing,
            };
            let key = TakenKey {
                fingerprint: RequestFingerprint::new(bytes("fingerprint", row.fingerprint)?),
                request: RequestId::new(row.request_id),
                usage,
                replica: if row.is_running {
                    ReplicaState::Running
                } else {
                    ReplicaState::Ended
                },
                answer: row.sealed_answer.map(SealedSecret::from_bytes),
                expires_at: row.expires_at.into(),
            };
            Ok((IdempotencySlot::new(bytes("slot", row.slot)?), key))
        })
        .collect()
}

async fn release(connection: &mut PgConnection, claims: &[Claim]) -> Result<(), StoreError> {
    let claims: BTreeMap<IdempotencySlot, RequestId> = claims
        .iter()
        .map(|claim| (claim.slot, claim.request))
        .collect();
    let slots: Vec<&[u8]> = claims
        .keys()
        .map(|slot| slot.as_bytes().as_slice())
        .collect();
    let requests: Vec<Uuid> = claims.values().map(|request| request.get()).collect();
    sqlx::query!(
        "DELETE FROM idempotency_keys k USING unnest($1::bytea[], $2::uuid[]) AS claim (slot, request_id)
        WHERE k.slot = claim.slot AND k.request_id = claim.request_id",
        &slots as _,
        &requests
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Keys of requests that may yet be charged are not forgotten: a repeat would be a second charge.
async fn sweep(
    connection: &mut PgConnection,
    now: Timestamp,
    limit: u32,
) -> Result<u32, StoreError> {
    let swept = sqlx::query!(
        "DELETE FROM idempotency_keys WHERE slot IN (
            SELECT slot FROM idempotency_keys k WHERE expires_at <= $1
                AND NOT EXISTS (SELECT FROM pending_requests p WHERE p.id = k.request_id AND p.reason = 'usage_unknown')
                AND NOT EXISTS (SELECT FROM unbooked_refusals s WHERE s.request_id = k.request_id)
                AND (EXISTS (SELECT FROM request_logs r WHERE r.id = k.request_id)
                    OR NOT EXISTS (SELECT FROM replicas WHERE replicas.id = k.replica_id AND ended_at IS NULL))
            ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        timestamptz(now),
        i64::from(limit)
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(u32::try_from(swept.rows_affected()).unwrap_or(u32::MAX))
}

/// Locks the keys of requests that are to be committed, and returns those requests whose keys have gone to others.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    finished: &[FinishedClaim],
) -> Result<HashSet<RequestId>, StoreError> {
    if finished.is_empty() {
        return Ok(HashSet::new());
    }
    let owners = lock_slots(connection, finished.iter().map(|one| one.claim.slot)).await?;
    Ok(finished
        .iter()
        .map(|one| one.claim)
        .filter(|claim| {
            let owner = owners.get(claim.slot.as_bytes().as_slice());
            owner.is_some_and(|owner| *owner != claim.request)
        })
        .map(|claim| claim.request)
        .collect())
}

/// Keeps the answers of requests that are committed now, for as long as keys are remembered. `lost` ones have none.
pub(crate) async fn write(
    connection: &mut PgConnection,
    finished: &[FinishedClaim],
    lost: &HashSet<RequestId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let kept = finished
        .iter()
        .filter(|one| !lost.contains(&one.claim.request));
    let mut slots: Vec<&[u8]> = Vec::new();
    let mut requests: Vec<Uuid> = Vec::new();
    let mut answers: Vec<Option<&[u8]>> = Vec::new();
    for FinishedClaim { claim, answer } in kept {
        slots.push(claim.slot.as_bytes().as_slice());
        requests.push(claim.request.get());
        answers.push(answer.as_ref().map(SealedSecret::as_bytes));
    }
    if slots.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE idempotency_keys k SET sealed_answer = coalesce(finished.answer, k.sealed_answer), expires_at = $4
        FROM unnest($1::bytea[], $2::uuid[], $3::bytea[]) AS finished (slot, request_id, answer)
        WHERE k.slot = finished.slot AND k.request_id = finished.request_id",
        &slots as _,
        &requests,
        &answers as _,
        timestamptz(now.plus_seconds(KEPT_SECONDS))
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
