//! Usage events and postings by their transactions. (Replicas write at the same time: there is no other order in which
//! the events of a transaction are together.)

use airouter_store::StoreError;
use airouter_store::verification::rows::PostingRow;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::PgConnection;

use crate::connection::failed;

/// All events, those of a transaction a text.
pub(super) fn events(connection: &mut PgConnection) -> BoxStream<'_, Result<String, StoreError>> {
    let pages = sqlx::query_scalar!(
        r#"SELECT string_agg(concat_ws(chr(31),
                id, transaction_id, payer_id, price_terms_id, budget_set_id, prompt_tokens, completion_tokens,
                reported_cost, coalesce(upstream_inference_cost::text, ''), list_cost, cost_nanos, price_nanos,
                charged_nanos, uncollected_nanos, charged_requests, coalesce(loss_reason, '')), chr(30)) AS "page!"
        FROM request_logs GROUP BY transaction_id ORDER BY transaction_id"#
    );
    pages
        .fetch(connection)
        .map(|page| page.map_err(failed))
        .boxed()
}

/// All transactions of the ledger with their postings.
pub(super) fn postings(
    connection: &mut PgConnection,
) -> BoxStream<'_, Result<PostingRow, StoreError>> {
    let postings = sqlx::query_as!(
        PostingRow,
        r#"SELECT t.id AS transaction_id, t.kind, p.ledger_account_id AS "ledger_account_id?",
            p.amount_nanos AS "amount_nanos?"
        FROM ledger_transactions t LEFT JOIN ledger_postings p ON p.transaction_id = t.id
        ORDER BY t.id"#
    );
    postings
        .fetch(connection)
        .map(|row| row.map_err(failed))
        .boxed()
}
