//! Usage events that the database refused.

use airouter_billing::{Timestamp, UsageEvent};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::{CommitBatch, RefusedEvent};

use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::pending;

/// Keeps an event until it is booked. Its usage is known: it is not asked for any more.
pub(crate) async fn set_aside(
    store: &SqliteStore,
    replica: ReplicaId,
    refused: &RefusedEvent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(&refused.event)
        .map_err(|error| StoreError::Refused(Box::new(error)))?;
    let request = refused.event.request.id.get();
    let (replica, at) = (replica.get(), now.as_micros());
    let cost = refused.event.cost.get();
    let mut writer = store.writer().await?;
    let mut transaction = begin(&mut writer).await?;
    let known = CommitBatch {
        events: vec![refused.event.clone()],
        ..CommitBatch::default()
    };
    pending::remove(&mut transaction, &known).await?;
    sqlx::query!(
        "INSERT INTO refused_settlements (request_id, replica_id, refused_at, reason, event, cost_nanos)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (request_id) DO NOTHING",
        request,
        replica,
        at,
        refused.reason,
        text,
        cost
    )
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Events that were set aside and are not booked yet, the oldest first.
pub(crate) async fn unbooked(
    store: &SqliteStore,
    limit: u32,
) -> Result<Vec<UsageEvent>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, event FROM refused_settlements
        WHERE request_id NOT IN (SELECT id FROM request_logs) ORDER BY id LIMIT $1",
        limit
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            serde_json::from_str(&row.event)
                .map_err(|_| Column::new("refused_settlements", "event").corrupt(row.id))
        })
        .collect()
}
