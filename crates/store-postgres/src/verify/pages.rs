//! Usage events and postings by their transactions. (Replicas write at the same time: there is no other order in which
//! the events of a transaction are together.)

use airouter_store::StoreError;
use airouter_store::verification::rows::{CorrectionRow, FindingRow, PostingRow, RefundRow};
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

/// All corrections with what they correct.
pub(super) async fn corrections(
    connection: &mut PgConnection,
) -> Result<Vec<CorrectionRow>, StoreError> {
    sqlx::query_as!(
        CorrectionRow,
        r#"SELECT t.corrects AS "corrects?",
            concat_ws(chr(31),
                c.id, c.transaction_id, c.payer_id, c.price_terms_id, c.budget_set_id, c.prompt_tokens,
                c.completion_tokens, c.reported_cost, coalesce(c.upstream_inference_cost::text, ''), c.list_cost,
                c.cost_nanos, c.price_nanos, c.charged_nanos, c.uncollected_nanos, c.charged_requests,
                coalesce(c.loss_reason, '')) AS "event!",
            CASE WHEN r.id IS NOT NULL THEN concat_ws(chr(31),
                r.id, r.transaction_id, r.payer_id, r.price_terms_id, r.budget_set_id, r.prompt_tokens,
                r.completion_tokens, r.reported_cost, coalesce(r.upstream_inference_cost::text, ''), r.list_cost,
                r.cost_nanos, r.price_nanos, r.charged_nanos, r.uncollected_nanos, r.charged_requests,
                coalesce(r.loss_reason, ''))
            END AS "corrected?"
        FROM request_corrections c
        LEFT JOIN ledger_transactions t ON t.id = c.transaction_id
        LEFT JOIN request_logs r ON r.id = c.id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}

/// All refunds with what they give back.
pub(super) async fn refunds(connection: &mut PgConnection) -> Result<Vec<RefundRow>, StoreError> {
    sqlx::query_as!(
        RefundRow,
        r#"SELECT f.transaction_id, t.corrects AS "corrects?", f.request_id AS request, f.amount_nanos,
            f.debt_paid_nanos,
            coalesce(
                (SELECT concat_ws(chr(31),
                    c.id, c.transaction_id, c.payer_id, c.price_terms_id, c.budget_set_id, c.prompt_tokens,
                    c.completion_tokens, c.reported_cost, coalesce(c.upstream_inference_cost::text, ''),
                    c.list_cost, c.cost_nanos, c.price_nanos, c.charged_nanos, c.uncollected_nanos,
                    c.charged_requests, coalesce(c.loss_reason, ''))
                FROM request_corrections c WHERE c.id = f.request_id),
                (SELECT concat_ws(chr(31),
                    r.id, r.transaction_id, r.payer_id, r.price_terms_id, r.budget_set_id, r.prompt_tokens,
                    r.completion_tokens, r.reported_cost, coalesce(r.upstream_inference_cost::text, ''),
                    r.list_cost, r.cost_nanos, r.price_nanos, r.charged_nanos, r.uncollected_nanos,
                    r.charged_requests, coalesce(r.loss_reason, ''))
                FROM request_logs r WHERE r.id = f.request_id)) AS charge
        FROM request_refunds f LEFT JOIN ledger_transactions t ON t.id = f.transaction_id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}

/// What reconciliation has posted.
pub(super) async fn findings(connection: &mut PgConnection) -> Result<Vec<FindingRow>, StoreError> {
    sqlx::query_as!(
        FindingRow,
        r#"SELECT transaction_id AS "transaction_id!", master_account_id AS master_account, cost_nanos
        FROM reconciliation_findings WHERE transaction_id IS NOT NULL"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}
