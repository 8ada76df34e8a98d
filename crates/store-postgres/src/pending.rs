//! Requests whose usage is not known yet.

use std::collections::{BTreeMap, HashSet};

use airouter_billing::RequestId;
use airouter_billing::recovery::PendingReason;
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{CommitBatch, PendingRequest};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{timestamptz, without_nul};

/// Removes requests that are settled by a batch, or were not billed, and stores others as the replica's own; what was
/// known of them before is replaced, unless they had ended and now are said to be in flight
/// ([`airouter_billing::correction::replaces`]). One that was settled before stays settled, unless it is one of those
/// that are `reopened`.
pub(crate) async fn write(
    connection: &mut PgConnection,
    replica: ReplicaId,
    batch: &CommitBatch,
    reopened: &[RequestId],
) -> Result<(), StoreError> {
    let over = batch.over(PendingReason::InFlight);
    let settled: HashSet<RequestId> = over.iter().copied().collect();
    let pending: BTreeMap<RequestId, &PendingRequest> = batch
        .pending
        .iter()
        .map(|pending| (pending.request.id, pending))
        .filter(|(id, _)| !settled.contains(id))
        .collect();
    if over.is_empty() && pending.is_empty() {
        return Ok(());
    }
    let uuids = |ids: &[RequestId]| -> Vec<Uuid> { ids.iter().map(|id| id.get()).collect() };
    let answered = batch.over(PendingReason::UsageUnknown);
    let (over, answered, reopened) = (uuids(&over), uuids(&answered), uuids(reopened));
    let ids: Vec<Uuid> = pending.keys().map(|id| id.get()).collect();
    let pending: Vec<&PendingRequest> = pending.into_values().collect();
    let reasons: Vec<&str> = pending
        .iter()
        .map(|pending| pending.reason.name())
        .collect();
    let generations: Vec<_> = pending
        .iter()
        .map(|pending| pending.served.generation_id.as_deref().map(without_nul))
        .collect();
    let since: Vec<_> = pending
        .iter()
        .map(|pending| timestamptz(pending.since))
        .collect();
    let details: Vec<_> = pending.into_iter().map(Json).collect();
    sqlx::query!(
        "WITH removed AS (
            DELETE FROM pending_requests WHERE id = ANY ($1) AND (reason <> 'usage_unknown' OR id = ANY ($9))
        )
        INSERT INTO pending_requests (replica_id, id, reason, generation_id, since, details)
        SELECT $2, pending.*
        FROM unnest($3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::json[])
            AS pending (id, reason, generation_id, since, details)
        WHERE NOT EXISTS (SELECT FROM request_logs r WHERE r.id = pending.id) OR pending.id = ANY ($8)
        ORDER BY pending.id
        ON CONFLICT (id) DO UPDATE SET replica_id = excluded.replica_id, reason = excluded.reason,
            generation_id = excluded.generation_id, since = excluded.since, details = excluded.details
        WHERE excluded.reason <> 'in_flight' OR pending_requests.reason = 'in_flight'",
        &over,
        replica.get(),
        &ids,
        &reasons[..] as _,
        &generations[..] as _,
        &since,
        &details[..] as _,
        &reopened,
        &answered
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// The oldest pending requests.
pub(crate) async fn oldest(
    connection: &mut PgConnection,
    limit: u32,
) -> Result<Vec<PendingRequest>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"SELECT details AS "details!: Json<PendingRequest>" FROM pending_requests ORDER BY since, id LIMIT $1"#,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|Json(pending)| pending).collect())
}

/// A replica's own requests by id, those after one of them.
pub(crate) async fn own(
    connection: &mut PgConnection,
    replica: ReplicaId,
    after: Option<RequestId>,
    limit: u32,
) -> Result<Vec<PendingRequest>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"SELECT details AS "details!: Json<PendingRequest>" FROM pending_requests
        WHERE replica_id = $1 AND id > $2 ORDER BY id LIMIT $3"#,
        replica.get(),
        after.map_or(Uuid::nil(), RequestId::get),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|Json(pending)| pending).collect())
}

/// The requests of a generation: one, but for what an upstream repeats.
pub(crate) async fn of_generation(
    connection: &mut PgConnection,
    generation: &str,
) -> Result<Vec<PendingRequest>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"SELECT details AS "details!: Json<PendingRequest>" FROM pending_requests WHERE generation_id = $1 LIMIT 16"#,
        generation
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|Json(pending)| pending).collect())
}

/// Makes requests of replicas that have ended, or that nobody owns, this replica's; the oldest first. Those that another
/// replica is just taking are left to it. (The array is on purpose: a join would not be looked at again for a row that
/// changed hands between being found and being locked.)
pub(crate) async fn take_over(
    connection: &mut PgConnection,
    replica: ReplicaId,
    limit: u32,
) -> Result<Vec<PendingRequest>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"UPDATE pending_requests SET replica_id = $1
        WHERE id IN (
            SELECT id FROM pending_requests
            WHERE replica_id IS NULL OR replica_id <> ALL (ARRAY (SELECT id FROM replicas WHERE ended_at IS NULL))
            ORDER BY since, id LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING details AS "details!: Json<PendingRequest>""#,
        replica.get(),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut taken: Vec<PendingRequest> = rows.into_iter().map(|Json(pending)| pending).collect();
    taken.sort_by_key(|pending| (pending.since, pending.request.id));
    Ok(taken)
}
