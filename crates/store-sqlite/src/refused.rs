//! Usage events that the database refused.

use airouter_billing::correction::Answers;
use airouter_billing::{Outcome, Timestamp};
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
    let is_charge = refused.event.outcome == Outcome::Charged;
    let is_acknowledged = refused.answers == Answers::Acknowledged;
    let mut writer = store.writer().await?;
    let mut transaction = begin(&mut writer).await?;
    let known = CommitBatch {
        events: vec![refused.event.clone()],
        ..CommitBatch::default()
    };
    sqlx::query!(
        "INSERT INTO refused_settlements (request_id, replica_id, refused_at, reason, event, cost_nanos, is_owed)
        VALUES ($1, $2, $3, $4, $5, $6,
            $7 AND ($8 OR $1 IN (SELECT id FROM pending_requests WHERE reason = 'usage_unknown')))
        ON CONFLICT (request_id) DO UPDATE SET is_owed = 1 WHERE excluded.is_owed",
        request,
        replica,
        at,
        refused.reason,
        text,
        cost,
        is_charge,
        is_acknowledged
    )
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    pending::remove(&mut transaction, &known).await?;
    transaction.commit().await.map_err(failed)
}

/// Events that were set aside and are not booked yet, the oldest first.
pub(crate) async fn unbooked(
    store: &SqliteStore,
    limit: u32,
) -> Result<Vec<RefusedEvent>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, event, reason, is_owed AS "is_owed: bool" FROM unbooked_refusals ORDER BY id LIMIT $1"#,
        limit
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    let refused = rows.into_iter().map(|row| {
        Ok(RefusedEvent {
            event: serde_json::from_str(&row.event)
                .map_err(|_| Column::new("refused_settlements", "event").corrupt(row.id))?,
            answers: if row.is_owed {
                Answers::Acknowledged
            } else {
                Answers::Waiting
            },
            reason: row.reason,
        })
    });
    refused.collect()
}
