//! Requests whose usage is not known yet.

use airouter_billing::RequestId;
use airouter_billing::recovery::PendingReason;
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{CommitBatch, PendingRequest};
use sqlx::SqliteConnection;

use crate::connection::failed;
use crate::convert::{Column, hex};
use crate::open::SqliteStore;

/// Stores pending requests as the replica's own; what was known of them before is replaced, unless they had ended and
/// now are said to be in flight ([`airouter_billing::correction::replaces`]). One that was settled before stays settled, unless it is one of those that are `reopened`.
pub(crate) async fn replace(
    connection: &mut SqliteConnection,
    replica: ReplicaId,
    pending: &[PendingRequest],
    reopened: &[RequestId],
) -> Result<(), StoreError> {
    if pending.is_empty() {
        return Ok(());
    }
    let rows = pending
        .iter()
        .map(|request| {
            Ok((
                hex(request.request.id.get()),
                request.reason.name(),
                &request.served.generation_id,
                request.since,
                serde_json::to_string(request)?,
            ))
        })
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| StoreError::Refused(Box::new(error)))?;
    let rows = serde_json::json!(rows).to_string();
    let replica = replica.get();
    let reopened: Vec<String> = reopened.iter().map(|id| hex(id.get())).collect();
    let reopened = serde_json::json!(reopened).to_string();
    sqlx::query!(
        "INSERT INTO pending_requests (id, reason, generation_id, since, details, replica_id)
        SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, $2 FROM json_each($1)
        WHERE unhex(value ->> 0) NOT IN (SELECT id FROM request_logs)
            OR unhex(value ->> 0) IN (SELECT unhex(value) FROM json_each($3))
        ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, generation_id = excluded.generation_id,
            since = excluded.since, details = excluded.details, replica_id = excluded.replica_id
        WHERE excluded.reason <> 'in_flight' OR pending_requests.reason = 'in_flight'",
        rows,
        replica,
        reopened
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Removes requests that are settled by a batch, or were not billed.
pub(crate) async fn remove(
    connection: &mut SqliteConnection,
    batch: &CommitBatch,
) -> Result<(), StoreError> {
    if batch.events.is_empty() && batch.forgotten.is_empty() {
        return Ok(());
    }
    let json = |reason| {
        let over = batch.over(reason);
        let ids: Vec<String> = over.iter().map(|id| hex(id.get())).collect();
        serde_json::json!(ids).to_string()
    };
    let (open, answered) = (
        json(PendingReason::InFlight),
        json(PendingReason::UsageUnknown),
    );
    sqlx::query!(
        "DELETE FROM pending_requests
        WHERE id IN (SELECT unhex(value) FROM json_each($1))
            AND (reason <> 'usage_unknown' OR id IN (SELECT unhex(value) FROM json_each($2)))",
        open,
        answered
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// The oldest pending requests.
pub(crate) async fn oldest(
    store: &SqliteStore,
    limit: u32,
) -> Result<Vec<PendingRequest>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, details FROM pending_requests ORDER BY since, id LIMIT $1",
        limit
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| read(&row.id, &row.details)).collect()
}

/// A replica's own requests by id, those after one of them.
pub(crate) async fn own(
    store: &SqliteStore,
    replica: ReplicaId,
    after: Option<RequestId>,
    limit: u32,
) -> Result<Vec<PendingRequest>, StoreError> {
    let number = replica.get();
    let after = after.map_or_else(Vec::new, |id| id.get().as_bytes().to_vec());
    let rows = sqlx::query!(
        "SELECT id, details FROM pending_requests WHERE replica_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        number,
        after,
        limit
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| read(&row.id, &row.details)).collect()
}

/// The requests of a generation: one, but for what an upstream repeats.
pub(crate) async fn of_generation(
    store: &SqliteStore,
    generation: &str,
) -> Result<Vec<PendingRequest>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, details FROM pending_requests WHERE generation_id = $1 LIMIT 16",
        generation
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| read(&row.id, &row.details)).collect()
}

/// Makes requests of replicas that have ended, or that nobody owns, this replica's; the oldest first.
pub(crate) async fn take_over(
    store: &SqliteStore,
    replica: ReplicaId,
    limit: u32,
) -> Result<Vec<PendingRequest>, StoreError> {
    let number = replica.get();
    let mut writer = store.writer().await?;
    let rows = sqlx::query!(
        r#"UPDATE pending_requests SET replica_id = $1
        WHERE id IN (
            SELECT id FROM pending_requests
            WHERE replica_id IS NULL OR replica_id NOT IN (SELECT id FROM replicas WHERE ended_at IS NULL)
            ORDER BY since, id LIMIT $2)
        RETURNING id AS "id!: Vec<u8>", details AS "details!: String""#,
        number,
        limit
    )
    .fetch_all(&mut *writer)
    .await
    .map_err(failed)?;
    let mut taken = rows
        .iter()
        .map(|row| read(&row.id, &row.details))
        .collect::<Result<Vec<_>, _>>()?;
    taken.sort_by_key(|pending| (pending.since, pending.request.id));
    Ok(taken)
}

fn read(id: &[u8], details: &str) -> Result<PendingRequest, StoreError> {
    let column = Column::new("pending_requests", "details");
    serde_json::from_str(details).map_err(|_| match column.uuid(id) {
        Ok(id) => column.corrupt(id),
        Err(error) => error,
    })
}
