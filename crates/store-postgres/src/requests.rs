//! Single requests: pages of a list by three indexes, and one by its id.

use airouter_billing::event::Ending;
use airouter_billing::{AccountId, ApiKeyId, MasterAccountId, RequestId};
use airouter_store::StoreError;
use airouter_store::request_rows::RequestRow;
use airouter_store::requests::{
    FailedAttempts, IdPage, OutcomeFilter, RequestPage, RequestQuery, RequestRecord, Requests,
};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::timestamptz;
use crate::open::PostgresStore;

#[async_trait]
impl Requests for PostgresStore {
    async fn requests(&self, query: &RequestQuery) -> Result<RequestPage, StoreError> {
        let filter = &query.filter;
        let has_nul = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains('\0'));
        // No text of the database has one.
        if has_nul(&filter.model) || has_nul(&filter.served_model) {
            return Ok(RequestPage {
                requests: Vec::new(),
                next: None,
            });
        }
        self.on_pool(async |connection| {
            let page = page(connection, query).await?;
            let records = records(connection, &page.ids).await?;
            Ok(RequestPage::of(&page, records))
        })
        .await
    }

    async fn request(&self, id: RequestId) -> Result<Option<RequestRecord>, StoreError> {
        let found = self
            .on_pool(async |connection| records(connection, &[id]).await)
            .await?;
        Ok(found.into_iter().next())
    }
}

/// The requests of `$source` that pass the filter, in `$order`. Corrections are looked up one by one (few requests have
/// one), and so are terms, which PostgreSQL remembers (many requests share some): the order of the source stays.
macro_rules! passing {
    ($source:literal, $order:literal, $connection:expr, $query:expr, $whose:expr) => {{
        let query: &RequestQuery = $query;
        let filter = &query.filter;
        sqlx::query_scalar!(
            "SELECT r.id FROM ("
                + $source
                + ") AS r
            LEFT JOIN LATERAL (
                SELECT c.price_terms_id, c.model, c.ending, c.uncollected_nanos FROM request_corrections c
                WHERE r.loss_reason IS NOT NULL AND c.id = r.id LIMIT 1
            ) AS c ON true
            CROSS JOIN LATERAL (
                SELECT coalesce(c.price_terms_id, r.price_terms_id) AS price_terms_id,
                    coalesce(c.ending, r.ending) AS ending,
                    coalesce(c.uncollected_nanos, r.uncollected_nanos) AS uncollected_nanos,
                    CASE WHEN c.ending IS NULL THEN r.model ELSE c.model END AS model,
                    CASE WHEN c.ending IS NULL THEN r.loss_reason END AS loss_reason
            ) AS b
            LEFT JOIN LATERAL (
                SELECT t.terms::json ->> 'requested_model' AS requested_model,
                    t.terms::json ->> 'shown_model' AS shown_model,
                    t.terms::json ->> 'master_account' AS master_account
                FROM price_terms t
                WHERE ($6::text IS NOT NULL OR $8::text IS NOT NULL) AND t.id = b.price_terms_id OFFSET 0
            ) AS t ON true
            WHERE ($5::uuid IS NULL OR r.payer_id = $5)
                AND ($6 IS NULL OR t.requested_model = $6 OR coalesce(t.shown_model, b.model) = $6)
                AND ($7::text IS NULL OR b.model = $7)
                AND ($8 IS NULL OR t.master_account = $8)
                AND ($9::text IS NULL OR b.ending = $9)
                AND ($10::text IS NULL OR CASE $10
                    WHEN 'charged' THEN b.loss_reason IS NULL
                    WHEN 'uncollected' THEN b.uncollected_nanos > 0
                    WHEN 'refunded' THEN EXISTS (SELECT FROM request_refunds f WHERE f.request_id = r.id)
                    ELSE b.loss_reason IS NOT DISTINCT FROM $10 END)
                AND ($11::timestamptz IS NULL OR r.admitted_at >= $11)
                AND ($12::timestamptz IS NULL OR r.admitted_at < $12)
                AND (NOT $13::boolean OR b.loss_reason IS DISTINCT FROM 'failed_attempt')
                AND ($15::uuid IS NULL OR r.api_key_id IN (SELECT id FROM api_keys WHERE account_id = $15))
            ORDER BY " + $order + " LIMIT $14",
            $whose as Option<Uuid>,
            query.below(),
            query.at_least(),
            query.most_examined(),
            filter.payer.map(AccountId::get),
            filter.model,
            filter.served_model,
            filter.master_account.as_ref().map(MasterAccountId::to_string),
            filter.ending.map(Ending::name),
            filter.outcome.map(OutcomeFilter::name),
            filter.from.map(timestamptz),
            filter.to.map(timestamptz),
            filter.failed_attempts == FailedAttempts::Hidden,
            i64::from(query.limit) + 1,
            filter.member.map(AccountId::get)
        )
        .fetch_all(&mut *$connection)
        .await
        .map_err(failed)
        .map(ids)
    }};
}

/// The last request of `$source`, if that has as many as are to be examined.
macro_rules! last_examined {
    ($source:literal, $order:literal, $connection:expr, $query:expr, $whose:expr) => {
        sqlx::query_scalar!(
            "SELECT r.id FROM (" + $source + ") AS r ORDER BY " + $order + " LIMIT 1 OFFSET $4 - 1",
            $whose as Option<Uuid>,
            $query.below(),
            $query.at_least(),
            $query.most_examined()
        )
        .fetch_optional(&mut *$connection)
        .await
        .map_err(failed)
        .map(|id| id.map(RequestId::new))
    };
}

/// Looks as far as there is a page, or as far as it may.
macro_rules! walk {
    ($source:literal, $order:literal, $connection:expr, $query:expr, $whose:expr) => {{
        let passed = passing!($source, $order, $connection, $query, $whose)?;
        let last = if passed.len() <= usize::from($query.limit) {
            last_examined!($source, $order, $connection, $query, $whose)?
        } else {
            None
        };
        Ok($query.page(passed, last))
    }};
}

async fn page(connection: &mut PgConnection, query: &RequestQuery) -> Result<IdPage, StoreError> {
    match (query.filter.key, query.filter.payer) {
        (Some(key), _) => of_key(connection, query, key).await,
        (None, Some(payer)) => of_payer(connection, query, payer).await,
        (None, None) => of_everybody(connection, query).await,
    }
}

async fn of_everybody(
    connection: &mut PgConnection,
    query: &RequestQuery,
) -> Result<IdPage, StoreError> {
    walk!(
        "SELECT * FROM request_logs WHERE $1::uuid IS NULL AND id < $2 AND id >= $3 ORDER BY id DESC LIMIT $4",
        "r.id DESC",
        connection,
        query,
        None
    )
}

/// Compares rows of columns, so that no other index than the payer's has this order: in that of all ids, the requests of
/// one who has long been away come last.
async fn of_payer(
    connection: &mut PgConnection,
    query: &RequestQuery,
    payer: AccountId,
) -> Result<IdPage, StoreError> {
    walk!(
        "SELECT * FROM request_logs WHERE (payer_id, id) < ($1, $2) AND (payer_id, id) >= ($1, $3)
        ORDER BY payer_id DESC, id DESC LIMIT $4",
        "r.payer_id DESC, r.id DESC",
        connection,
        query,
        Some(payer.get())
    )
}

/// `$3` says nothing about when a request ended but that it ended later.
async fn of_key(
    connection: &mut PgConnection,
    query: &RequestQuery,
    key: ApiKeyId,
) -> Result<IdPage, StoreError> {
    walk!(
        "SELECT * FROM request_logs
        WHERE api_key_id = $1 AND id >= $3
            AND (finished_at, id) < (coalesce((SELECT finished_at FROM request_logs WHERE id = $2), 'infinity'), $2)
        ORDER BY finished_at DESC, id DESC LIMIT $4",
        "r.finished_at DESC, r.id DESC",
        connection,
        query,
        Some(key.get())
    )
}

fn ids(ids: Vec<Uuid>) -> Vec<RequestId> {
    ids.into_iter().map(RequestId::new).collect()
}

/// These requests, in any order.
async fn records(
    connection: &mut PgConnection,
    ids: &[RequestId],
) -> Result<Vec<RequestRecord>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.get()).collect();
    let rows = sqlx::query_as!(
        RequestRow,
        r#"SELECT b.id AS "id!", b.transaction_id AS "transaction_id!", b.payer_id AS "payer_id!",
            coalesce(a.name, '') AS "payer_name!", b.api_key_id AS "api_key_id!", k.name AS "key_name?", t.terms,
            m.name AS "server_name?", m.kind AS "server_kind?", b.generation_id, b.model, b.provider,
            b.delivery AS "delivery!", b.ending AS "ending!", b.prompt_tokens AS "prompt_tokens!",
            b.completion_tokens AS "completion_tokens!", b.cached_tokens AS "cached_tokens!",
            b.cache_write_tokens AS "cache_write_tokens!", b.audio_tokens AS "audio_tokens!",
            b.reasoning_tokens AS "reasoning_tokens!", b.image_output_tokens AS "image_output_tokens!",
            b.reported_cost::text AS "reported_cost!", b.cost_source AS "cost_source!",
            b.upstream_inference_cost::text AS upstream_inference_cost, b.list_cost::text AS "list_cost!",
            b.cost_nanos AS "cost_nanos!", b.charged_nanos AS "charged_nanos!",
            b.uncollected_nanos AS "uncollected_nanos!", b.loss_reason, b.is_corrected AS "is_corrected!",
            (SELECT coalesce(sum(f.amount_nanos), 0)::bigint FROM request_refunds f WHERE f.request_id = b.id)
                AS "refunded_nanos!",
            (extract(epoch FROM b.admitted_at) * 1000000)::bigint AS "admitted_at!",
            (extract(epoch FROM b.finished_at) * 1000000)::bigint AS "finished_at!", b.first_byte_micros
        FROM (
            SELECT id, transaction_id, payer_id, api_key_id, price_terms_id, generation_id, model, provider, delivery, ending,
                prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens,
                image_output_tokens, reported_cost, cost_source, upstream_inference_cost, list_cost, cost_nanos,
                charged_nanos, uncollected_nanos, loss_reason, admitted_at, finished_at, first_byte_micros, false AS is_corrected
            FROM request_logs r WHERE id = ANY ($1) AND (
                loss_reason IS NULL OR NOT EXISTS (SELECT FROM request_corrections c WHERE c.id = r.id))
            UNION ALL
            SELECT id, transaction_id, payer_id, api_key_id, price_terms_id, generation_id, model, provider, delivery, ending,
                prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens,
                image_output_tokens, reported_cost, cost_source, upstream_inference_cost, list_cost, cost_nanos,
                charged_nanos, uncollected_nanos, loss_reason, admitted_at, finished_at, first_byte_micros, true AS is_corrected
            FROM request_corrections WHERE id = ANY ($1)
        ) AS b
        JOIN price_terms t ON t.id = b.price_terms_id
        LEFT JOIN accounts a ON a.id = b.payer_id
        LEFT JOIN api_keys k ON k.id = b.api_key_id
        LEFT JOIN master_accounts m ON m.id = (t.terms::json ->> 'master_account')::uuid"#,
        &ids
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter().map(RequestRow::into_record).collect()
}
