//! Usage events and postings in the order in which they were written.

use airouter_store::StoreError;
use airouter_store::verification::rows::{CorrectionRow, FindingRow, PostingRow, RefundRow};
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::SqliteConnection;

use crate::connection::failed;
use crate::convert::Column;

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

/// All corrections with what they correct.
pub(super) async fn corrections(
    connection: &mut SqliteConnection,
) -> Result<Vec<CorrectionRow>, StoreError> {
    sqlx::query_as!(
        CorrectionRow,
        r#"SELECT t.corrects AS "corrects?: i64",
            concat_ws(char(31),
                hex(c.id), c.transaction_id, hex(c.payer_id), c.price_terms_id, c.budget_set_id, c.prompt_tokens,
                c.completion_tokens, c.reported_cost, coalesce(c.upstream_inference_cost, ''), c.list_cost,
                c.cost_nanos, c.price_nanos, c.charged_nanos, c.uncollected_nanos, c.charged_requests,
                coalesce(c.loss_reason, '')) AS "event!: String",
            CASE WHEN r.id IS NOT NULL THEN concat_ws(char(31),
                r.seq, r.transaction_id, hex(r.payer_id), r.price_terms_id, r.budget_set_id, r.prompt_tokens,
                r.completion_tokens, r.reported_cost, coalesce(r.upstream_inference_cost, ''), r.list_cost,
                r.cost_nanos, r.price_nanos, r.charged_nanos, r.uncollected_nanos, r.charged_requests,
                coalesce(r.loss_reason, ''))
            END AS "corrected?: String"
        FROM request_corrections c
        LEFT JOIN ledger_transactions t ON t.id = c.transaction_id
        LEFT JOIN request_logs r ON r.id = c.id
        ORDER BY c.transaction_id, c.id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}

/// All refunds with what they give back.
pub(super) async fn refunds(
    connection: &mut SqliteConnection,
) -> Result<Vec<RefundRow>, StoreError> {
    sqlx::query_as!(
        RefundRow,
        r#"SELECT f.transaction_id AS "transaction_id!: i64", t.corrects AS "corrects?: i64",
            f.request_id AS "request!: uuid::Uuid", f.amount_nanos AS "amount_nanos!: i64",
            f.debt_paid_nanos AS "debt_paid_nanos!: i64",
            coalesce(
                (SELECT concat_ws(char(31),
                    hex(c.id), c.transaction_id, hex(c.payer_id), c.price_terms_id, c.budget_set_id, c.prompt_tokens,
                    c.completion_tokens, c.reported_cost, coalesce(c.upstream_inference_cost, ''),
                    c.list_cost, c.cost_nanos, c.price_nanos, c.charged_nanos, c.uncollected_nanos,
                    c.charged_requests, coalesce(c.loss_reason, ''))
                FROM request_corrections c WHERE c.id = f.request_id),
                (SELECT concat_ws(char(31),
                    hex(r.id), r.transaction_id, hex(r.payer_id), r.price_terms_id, r.budget_set_id, r.prompt_tokens,
                    r.completion_tokens, r.reported_cost, coalesce(r.upstream_inference_cost, ''),
                    r.list_cost, r.cost_nanos, r.price_nanos, r.charged_nanos, r.uncollected_nanos,
                    r.charged_requests, coalesce(r.loss_reason, ''))
                FROM request_logs r WHERE r.id = f.request_id)) AS "charge?: String"
        FROM request_refunds f LEFT JOIN ledger_transactions t ON t.id = f.transaction_id
        ORDER BY f.transaction_id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}

/// What reconciliation has posted.
pub(super) async fn findings(
    connection: &mut SqliteConnection,
) -> Result<Vec<FindingRow>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT transaction_id AS "transaction_id!: i64", master_account_id, cost_nanos
        FROM reconciliation_findings WHERE transaction_id IS NOT NULL ORDER BY transaction_id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let column = Column::new("reconciliation_findings", "master_account_id");
            Ok(FindingRow {
                transaction_id: row.transaction_id,
                master_account: column.uuid(&row.master_account_id)?,
                cost_nanos: row.cost_nanos,
            })
        })
        .collect()
}
