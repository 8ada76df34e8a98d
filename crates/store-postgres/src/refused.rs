//! Usage events that the database refused.

use airouter_billing::correction::{Answers, closes};
use airouter_billing::recovery::PendingReason;
use airouter_billing::{Outcome, Timestamp};
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::RefusedEvent;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::connection::failed;
use crate::convert::{Column, timestamptz, without_nul};

/// Keeps an event until it is booked. Its usage is known: it is not asked for any more.
pub(crate) async fn set_aside(
    connection: &mut PgConnection,
    replica: ReplicaId,
    refused: &RefusedEvent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = &refused.event;
    let reason = without_nul(&refused.reason);
    sqlx::query!(
        "WITH over AS (
            DELETE FROM pending_requests WHERE id = $1 AND (reason <> 'usage_unknown' OR $9))
        INSERT INTO refused_settlements
            (request_id, replica_id, refused_at, reason, event, list_cost, cost_nanos, price_nanos, is_owed)
        VALUES ($1, $2, $3, $4, $5, $6::text::numeric, $7, $8, $10 AND ($11
            OR EXISTS (SELECT FROM pending_requests WHERE id = $1 AND reason = 'usage_unknown')))
        ON CONFLICT (request_id) DO UPDATE SET is_owed = true WHERE excluded.is_owed",
        event.request.id.get(),
        replica.get(),
        timestamptz(now),
        &*reason,
        Json(event) as _,
        event.list_cost.to_string(),
        event.cost.get(),
        event.price.get(),
        closes(event.outcome, PendingReason::UsageUnknown),
        event.outcome == Outcome::Charged,
        refused.answers == Answers::Acknowledged
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Events that were set aside and are not booked yet, the oldest first.
pub(crate) async fn unbooked(
    connection: &mut PgConnection,
    limit: u32,
) -> Result<Vec<RefusedEvent>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", event::text AS "event!", reason AS "reason!", is_owed AS "is_owed!"
        FROM unbooked_refusals ORDER BY id LIMIT $1"#,
        i64::from(limit)
    )
    .fetch_all(connection)
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
