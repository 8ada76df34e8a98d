//! Single requests: pages of a list by three indexes, and one by its id.

use airouter_billing::event::Ending;
use airouter_billing::{AccountId, ApiKeyId, MasterAccountId, RequestId, Timestamp};
use airouter_store::StoreError;
use airouter_store::request_rows::RequestRow;
use airouter_store::requests::{
    FailedAttempts, IdPage, OutcomeFilter, RequestPage, RequestQuery, RequestRecord, Requests,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::hex;
use crate::open::SqliteStore;

#[async_trait]
impl Requests for SqliteStore {
    async fn requests(&self, query: &RequestQuery) -> Result<RequestPage, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        let page = page(&mut reader, query).await?;
        let records = records(&mut reader, &page.ids).await?;
        Ok(RequestPage::of(&page, records))
    }

    async fn request(&self, id: RequestId) -> Result<Option<RequestRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        let found = records(&mut reader, &[id]).await?;
        Ok(found.into_iter().next())
    }
}

/// A query as parameters.
struct Parameters<'a> {
    whose: Option<Uuid>,
    below: Uuid,
    at_least: Uuid,
    most_examined: i64,
    payer: Option<Uuid>,
    model: Option<&'a str>,
    served_model: Option<&'a str>,
    master_account: Option<String>,
    ending: Option<&'static str>,
    outcome: Option<&'static str>,
    from: Option<i64>,
    to: Option<i64>,
    hides_failed_attempts: bool,
    limit: i64,
    member: Option<Uuid>,
}

impl<'a> Parameters<'a> {
    fn of(query: &'a RequestQuery, whose: Option<Uuid>) -> Self {
        let filter = &query.filter;
        Self {
            whose,
            below: query.below(),
            at_least: query.at_least(),
            most_examined: query.most_examined(),
            payer: filter.payer.map(AccountId::get),
            model: filter.model.as_deref(),
            served_model: filter.served_model.as_deref(),
            master_account: filter
                .master_account
                .as_ref()
                .map(MasterAccountId::to_string),
            ending: filter.ending.map(Ending::name),
            outcome: filter.outcome.map(OutcomeFilter::name),
            from: filter.from.map(Timestamp::as_micros),
            to: filter.to.map(Timestamp::as_micros),
            hides_failed_attempts: filter.failed_attempts == FailedAttempts::Hidden,
            limit: i64::from(query.limit) + 1,
            member: filter.member.map(AccountId::get),
        }
    }
}

/// The requests of `$source` that pass the filter, in `$order`.
macro_rules! passing {
    ($source:literal, $order:literal, $connection:expr, $parameters:expr) => {
        sqlx::query_scalar!(
            "SELECT r.id AS 'id!: Uuid' FROM ("
                + $source
                + ") AS r
            LEFT JOIN request_corrections c ON c.id = r.id AND r.loss_reason IS NOT NULL
            JOIN price_terms t ON t.id = coalesce(c.price_terms_id, r.price_terms_id)
            WHERE ($5 IS NULL OR r.payer_id = $5)
                AND ($6 IS NULL OR t.terms ->> 'requested_model' = $6
                    OR coalesce(t.terms ->> 'shown_model', iif(c.id IS NULL, r.model, c.model)) = $6)
                AND ($7 IS NULL OR iif(c.id IS NULL, r.model, c.model) = $7)
                AND ($8 IS NULL OR t.terms ->> 'master_account' = $8)
                AND ($9 IS NULL OR coalesce(c.ending, r.ending) = $9)
                AND ($10 IS NULL OR CASE $10
                    WHEN 'charged' THEN r.loss_reason IS NULL OR c.id IS NOT NULL
                    WHEN 'uncollected' THEN coalesce(c.uncollected_nanos, r.uncollected_nanos) > 0
                    WHEN 'refunded' THEN EXISTS (SELECT 1 FROM request_refunds f WHERE f.request_id = r.id)
                    ELSE c.id IS NULL AND r.loss_reason IS $10 END)
                AND ($11 IS NULL OR r.admitted_at >= $11)
                AND ($12 IS NULL OR r.admitted_at < $12)
                AND (NOT $13 OR c.id IS NOT NULL OR r.loss_reason IS NOT 'failed_attempt')
                AND ($15 IS NULL OR r.api_key_id IN (SELECT id FROM api_keys WHERE account_id = $15))
            ORDER BY " + $order + " LIMIT $14",
            $parameters.whose,
            $parameters.below,
            $parameters.at_least,
            $parameters.most_examined,
            $parameters.payer,
            $parameters.model,
            $parameters.served_model,
            $parameters.master_account,
            $parameters.ending,
            $parameters.outcome,
            $parameters.from,
            $parameters.to,
            $parameters.hides_failed_attempts,
            $parameters.limit,
            $parameters.member
        )
        .fetch_all(&mut *$connection)
        .await
        .map_err(failed)
        .map(ids)
    };
}

/// The last request of `$source`, if that has as many as are to be examined.
macro_rules! last_examined {
    ($source:literal, $order:literal, $connection:expr, $parameters:expr) => {
        sqlx::query_scalar!(
            "SELECT r.id AS 'id!: Uuid' FROM ("
                + $source
                + ") AS r ORDER BY "
                + $order
                + " LIMIT 1 OFFSET $4 - 1",
            $parameters.whose,
            $parameters.below,
            $parameters.at_least,
            $parameters.most_examined
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
        let parameters = Parameters::of($query, $whose);
        let passed = passing!($source, $order, $connection, parameters)?;
        let last = if passed.len() <= usize::from($query.limit) {
            last_examined!($source, $order, $connection, parameters)?
        } else {
            None
        };
        Ok($query.page(passed, last))
    }};
}

async fn page(
    connection: &mut SqliteConnection,
    query: &RequestQuery,
) -> Result<IdPage, StoreError> {
    match (query.filter.key, query.filter.payer) {
        (Some(key), _) => of_key(connection, query, key).await,
        (None, Some(payer)) => of_payer(connection, query, payer).await,
        (None, None) => of_everybody(connection, query).await,
    }
}

async fn of_everybody(
    connection: &mut SqliteConnection,
    query: &RequestQuery,
) -> Result<IdPage, StoreError> {
    walk!(
        "SELECT * FROM request_logs WHERE $1 IS NULL AND id < $2 AND id >= $3 ORDER BY id DESC LIMIT $4",
        "r.id DESC",
        connection,
        query,
        None
    )
}

async fn of_payer(
    connection: &mut SqliteConnection,
    query: &RequestQuery,
    payer: AccountId,
) -> Result<IdPage, StoreError> {
    walk!(
        "SELECT * FROM request_logs INDEXED BY request_logs_by_payer WHERE payer_id = $1 AND id < $2 AND id >= $3
        ORDER BY id DESC LIMIT $4",
        "r.id DESC",
        connection,
        query,
        Some(payer.get())
    )
}

/// `$3` says nothing about when a request ended but that it ended later.
async fn of_key(
    connection: &mut SqliteConnection,
    query: &RequestQuery,
    key: ApiKeyId,
) -> Result<IdPage, StoreError> {
    walk!(
        "SELECT * FROM request_logs INDEXED BY request_logs_by_key
        WHERE api_key_id = $1 AND id >= $3 AND (finished_at, id)
            < (coalesce((SELECT finished_at FROM request_logs WHERE id = $2), 9223372036854775807), $2)
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
    connection: &mut SqliteConnection,
    ids: &[RequestId],
) -> Result<Vec<RequestRecord>, StoreError> {
    let ids: Vec<String> = ids.iter().map(|id| hex(id.get())).collect();
    let ids = serde_json::json!(ids).to_string();
    let rows = sqlx::query_as!(
        RequestRow,
        r#"SELECT b.id AS "id!: Uuid", b.transaction_id AS "transaction_id!: i64", b.payer_id AS "payer_id!: Uuid",
            coalesce(a.name, '') AS "payer_name!: String", b.api_key_id AS "api_key_id!: Uuid",
            k.name AS "key_name?: String", t.terms AS "terms!: String", m.name AS "server_name?: String",
            m.kind AS "server_kind?: String", b.generation_id AS "generation_id?: String",
            b.model AS "model?: String", b.provider AS "provider?: String", b.delivery AS "delivery!: String",
            b.ending AS "ending!: String", b.prompt_tokens AS "prompt_tokens!: i64",
            b.completion_tokens AS "completion_tokens!: i64", b.cached_tokens AS "cached_tokens!: i64",
            b.cache_write_tokens AS "cache_write_tokens!: i64", b.audio_tokens AS "audio_tokens!: i64",
            b.reasoning_tokens AS "reasoning_tokens!: i64", b.image_output_tokens AS "image_output_tokens!: i64",
            b.reported_cost AS "reported_cost!: String", b.cost_source AS "cost_source!: String",
            b.upstream_inference_cost AS "upstream_inference_cost?: String", b.list_cost AS "list_cost!: String",
            b.cost_nanos AS "cost_nanos!: i64", b.charged_nanos AS "charged_nanos!: i64",
            b.uncollected_nanos AS "uncollected_nanos!: i64", b.loss_reason AS "loss_reason?: String",
            b.is_corrected AS "is_corrected!: bool",
            (SELECT coalesce(sum(f.amount_nanos), 0) FROM request_refunds f WHERE f.request_id = b.id)
                AS "refunded_nanos!: i64",
            b.admitted_at AS "admitted_at!: i64", b.finished_at AS "finished_at!: i64",
            b.first_byte_micros AS "first_byte_micros?: i64"
        FROM (
            SELECT id, transaction_id, payer_id, api_key_id, price_terms_id, generation_id, model, provider, delivery, ending,
                prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens,
                image_output_tokens, reported_cost, cost_source, upstream_inference_cost, list_cost, cost_nanos,
                charged_nanos, uncollected_nanos, loss_reason, admitted_at, finished_at, first_byte_micros, 0 AS is_corrected
            FROM request_logs r WHERE id IN (SELECT unhex(value) FROM json_each($1)) AND (
                loss_reason IS NULL OR NOT EXISTS (SELECT 1 FROM request_corrections c WHERE c.id = r.id))
            UNION ALL
            SELECT id, transaction_id, payer_id, api_key_id, price_terms_id, generation_id, model, provider, delivery, ending,
                prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens,
                image_output_tokens, reported_cost, cost_source, upstream_inference_cost, list_cost, cost_nanos,
                charged_nanos, uncollected_nanos, loss_reason, admitted_at, finished_at, first_byte_micros, 1 AS is_corrected
            FROM request_corrections WHERE id IN (SELECT unhex(value) FROM json_each($1))
        ) AS b
        JOIN price_terms t ON t.id = b.price_terms_id
        LEFT JOIN accounts a ON a.id = b.payer_id
        LEFT JOIN api_keys k ON k.id = b.api_key_id
        LEFT JOIN master_accounts m ON m.id = unhex(replace(t.terms ->> 'master_account', '-', ''))"#,
        ids
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter().map(RequestRow::into_record).collect()
}
