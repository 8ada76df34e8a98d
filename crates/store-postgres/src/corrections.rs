//! How requests are booked that come again: most as they are, some to be corrected.

use airouter_billing::RequestId;
use airouter_billing::correction::{Booked, BookedRequests};
use airouter_store::StoreError;
use airouter_store::loss_rows::LossRow;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::books::Books;
use crate::connection::failed;

/// How those requests are booked that were found to be settled. (Their payers are locked.)
pub(crate) async fn booked(
    connection: &mut PgConnection,
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
    let lost: Vec<Uuid> = books.lost.iter().copied().map(RequestId::get).collect();
    let rows = sqlx::query_as!(
        LossRow,
        r#"SELECT r.id, r.transaction_id, r.loss_reason AS "loss_reason!", r.cost_nanos, t.terms,
            CASE
                WHEN EXISTS (SELECT FROM request_corrections c WHERE c.id = r.id) THEN 'corrected'
                WHEN EXISTS (SELECT FROM pending_requests p WHERE p.id = r.id AND p.reason = 'usage_unknown')
                    THEN 'reopened'
                ELSE 'lost'
            END AS "state!"
        FROM request_logs r JOIN price_terms t ON t.id = r.price_terms_id
        WHERE r.id = ANY ($1) AND r.loss_reason IS NOT NULL"#,
        &lost
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for row in rows {
        booked.extend([row.booked()?]);
    }
    Ok(booked)
}
