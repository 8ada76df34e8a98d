//! Usage events and postings in the order in which they were written.

use airouter_store::StoreError;
use airouter_store::verification::rows::PostingRow;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::SqliteConnection;

use crate::connection::failed;

/// All events, 64 rows a text.
pub(super) fn events(
    connection: &mut SqliteConnection,
) -> BoxStream<'_, Result<String, StoreError>> {
    let pages = sqlx::query_scalar!(
        r#"WITH RECURSIVE pages (first) AS (
            SELECT min(seq) FROM request_logs
            UNION ALL
            SELECT (SELECT min(seq) FROM request_logs WHERE seq >= pages.first + 64)
            FROM pages WHERE pages.first IS NOT NULL
        )
        SELECT (
            SELECT group_concat(concat_ws(char(31),
                seq, transaction_id, hex(payer_id), price_terms_id, budget_set_id, prompt_tokens, completion_tokens,
                reported_cost, coalesce(upstream_inference_cost, ''), list_cost, cost_nanos, price_nanos,
                charged_nanos, uncollected_nanos, charged_requests, coalesce(loss_reason, '')), char(30))
            FROM request_logs WHERE seq >= pages.first AND seq < pages.first + 64
        ) AS "page!: String"
        FROM pages WHERE pages.first IS NOT NULL"#
    );
    pages
        .fetch(connection)
        .map(|page| page.map_err(failed))
        .boxed()
}

/// All transactions of the ledger with their postings.
pub(super) fn postings(
    connection: &mut SqliteConnection,
) -> BoxStream<'_, Result<PostingRow, StoreError>> {
    let postings = sqlx::query_as!(
        PostingRow,
        r#"SELECT t.id AS "transaction_id!: i64", t.kind AS "kind!: String",
            p.ledger_account_id AS "ledger_account_id?: i64", p.amount_nanos AS "amount_nanos?: i64"
        FROM ledger_transactions t LEFT JOIN ledger_postings p ON p.transaction_id = t.id
        ORDER BY t.id, p.ledger_account_id"#
    );
    postings
        .fetch(connection)
        .map(|row| row.map_err(failed))
        .boxed()
}
