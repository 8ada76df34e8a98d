//! How requests are booked that come again: most as they are, some to be corrected.

use airouter_billing::correction::{Booked, BookedRequests};
use airouter_store::StoreError;
use airouter_store::loss_rows::LossRow;
use sqlx::SqliteConnection;

use crate::books::Books;
use crate::connection::failed;
use crate::convert::{Column, hex};

/// How those requests are booked that were found to be settled.
pub(crate) async fn booked(
    connection: &mut SqliteConnection,
    books: &Books,
) -> Result<BookedRequests, StoreError> {
    let mut booked: BookedRequests = books
        .settled
        .iter()
        .map(|request| (*request, Booked::Charged))
        .collect();
    if books.lost.is_empty() {
        return Ok(booked);
    }
    let lost: Vec<String> = books.lost.iter().map(|id| hex(id.get())).collect();
    let lost = serde_json::json!(lost).to_string();
    let rows = sqlx::query!(
        r#"SELECT r.id, r.transaction_id, r.loss_reason AS "loss_reason!: String", r.cost_nanos, t.terms,
            CASE
                WHEN r.id IN (SELECT id FROM request_corrections) THEN 'corrected'
                WHEN r.id IN (SELECT id FROM pending_requests WHERE reason = 'usage_unknown') THEN 'reopened'
                ELSE 'lost'
            END AS "state!: String"
        FROM request_logs r JOIN price_terms t ON t.id = r.price_terms_id
        WHERE r.id IN (SELECT unhex(value) FROM json_each($1)) AND r.loss_reason IS NOT NULL"#,
        lost
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for row in rows {
        let row = LossRow {
            id: Column::new("request_logs", "id").uuid(&row.id)?,
            transaction_id: row.transaction_id,
            loss_reason: row.loss_reason,
            cost_nanos: row.cost_nanos,
            terms: row.terms,
            state: row.state,
        };
        booked.extend([row.booked()?]);
    }
    Ok(booked)
}
