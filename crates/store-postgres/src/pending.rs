//! Requests whose usage is not known yet.

use std::collections::{BTreeMap, BTreeSet};

use airouter_billing::RequestId;
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::PendingRequest;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{timestamptz, without_nul};

/// Removes requests that are settled, or were not billed, and stores others as the replica's own; what was known of them
/// before is replaced. One that was settled before stays settled.
pub(crate) async fn write(
    connection: &mut PgConnection,
    replica: ReplicaId,
    over: &BTreeSet<RequestId>,
    pending: &[PendingRequest],
) -> Result<(), StoreError> {
    let pending: BTreeMap<RequestId, &PendingRequest> = pending
        .iter()
        .map(|pending| (pending.request.id, pending))
        .filter(|(id, _)| !over.contains(id))
        .collect();
    if over.is_empty() && pending.is_empty() {
        return Ok(());
    }
    let over: Vec<Uuid> = over.iter().map(|id| id.get()).collect();
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
        "WITH removed AS (DELETE FROM pending_requests WHERE id = ANY ($1))
        INSERT INTO pending_requests (replica_id, id, reason, generation_id, since, details)
        SELECT $2, pending.*
        FROM unnest($3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::json[])
            AS pending (id, reason, generation_id, since, details)
        WHERE NOT EXISTS (SELECT FROM request_logs r WHERE r.id = pending.id)
        ORDER BY pending.id
        ON CONFLICT (id) DO UPDATE SET replica_id = excluded.replica_id, reason = excluded.reason,
            generation_id = excluded.generation_id, since = excluded.since, details = excluded.details",
        &over,
        replica.get(),
        &ids,
        &reasons[..] as _,
        &generations[..] as _,
        &since,
        &details[..] as _
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
