//! `GET /v1/client/recent-requests`.

use std::sync::Arc;

use airouter_store::requests::{FailedAttempts, RequestFilter, RequestRecord};
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::Params;
use crate::caller::Caller;
use crate::client::usage::Spender;
use crate::csv::Format;
use crate::page::{Page, PageQuery};
use crate::problem::Problem;
use crate::requests::{Common, HowItEnded, Wanted, duration_ms};
use crate::shared::Shared;
use crate::values::{Id, Time, Usd};

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecentQuery {
    /// Sent with this key. Then the list is in the order in which requests ended.
    #[param(value_type = Option<Id>)]
    key_id: Option<Uuid>,
    /// For this model: as it was asked for, or as it was told.
    #[param(max_length = 256, example = "openai/gpt-4o-mini")]
    model: Option<String>,
    /// Ended so.
    #[param(inline)]
    ending: Option<HowItEnded>,
    /// Begun then or later.
    from: Option<Time>,
    /// Begun before.
    to: Option<Time>,
    /// `next_cursor` of the page before (as CSV in the header `x-next-cursor`); without it the list begins.
    cursor: Option<String>,
    /// How many at most: 200, as CSV 2000. A page may have fewer, or none, and a next one all the same.
    #[param(minimum = 1, maximum = 2000, default = 50)]
    limit: Option<u16>,
    /// JSON or CSV; without it the header `Accept` says so.
    #[param(inline)]
    format: Option<Format>,
}

/// A request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientRequest {
    /// Its id: `x-request-id` of the answer.
    id: Id,
    /// When it began.
    admitted_at: Time,
    /// When it ended.
    finished_at: Time,
    /// The key that sent it.
    key_id: Id,
    /// What the key is called.
    key_name: Option<String>,
    /// The id of the generation: `id` of the answer.
    generation_id: Option<String>,
    /// The model.
    #[schema(example = "openai/gpt-4o-mini")]
    model: String,
    /// The provider that answered.
    provider: Option<String>,
    /// `whole` or `streamed`.
    #[schema(example = "streamed")]
    delivery: &'static str,
    /// How it ended.
    ending: HowItEnded,
    /// Tokens of the prompt.
    prompt_tokens: u64,
    /// Tokens of the answer.
    completion_tokens: u64,
    /// Tokens of the prompt that were read from a cache.
    cached_tokens: u64,
    /// Tokens of the prompt that were written to a cache.
    cache_write_tokens: u64,
    /// Tokens of the answer spent on reasoning.
    reasoning_tokens: u64,
    /// The price.
    price: Usd,
    /// What of it was charged; less than the price where the budget had less.
    charged: Usd,
    /// What was given back.
    refunded: Usd,
    /// Milliseconds to the first byte, if one was sent.
    first_byte_ms: Option<u64>,
    /// Milliseconds to the end.
    duration_ms: u64,
}

const COLUMNS: [&str; 20] = [
    "id",
    "admitted_at",
    "finished_at",
    "key_id",
    "key_name",
    "generation_id",
    "model",
    "provider",
    "delivery",
    "ending",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "price",
    "charged",
    "refunded",
    "first_byte_ms",
    "duration_ms",
];

impl From<RequestRecord> for ClientRequest {
    fn from(request: RequestRecord) -> Self {
        Self {
            id: Id(request.id.get()),
            admitted_at: Time(request.admitted_at),
            finished_at: Time(request.finished_at),
            key_id: Id(request.sender.key.get()),
            model: request.shown_model().to_owned(),
            price: Usd(request.price()),
            duration_ms: duration_ms(&request),
            key_name: request.sender.key_name,
            generation_id: request.server.generation_id,
            provider: request.server.provider,
            delivery: request.delivery.name(),
            ending: request.ending.into(),
            prompt_tokens: request.tokens.prompt,
            completion_tokens: request.tokens.completion,
            cached_tokens: request.tokens.cached,
            cache_write_tokens: request.tokens.cache_write,
            reasoning_tokens: request.tokens.reasoning,
            charged: Usd(request.covered.charged),
            refunded: Usd(request.refunded),
            first_byte_ms: request.first_byte_micros.map(|micros| micros / 1_000),
        }
    }
}

/// What the caller's account paid for, the newest first. Requests that have not ended are not there yet.
#[utoipa::path(
    get,
    path = "/v1/client/recent-requests",
    tag = "client",
    params(RecentQuery),
    responses((status = 200, description = "A page of requests", content(
        (Page<ClientRequest> = "application/json"),
        (String = "text/csv")
    )))
)]
pub(crate) async fn recent_requests(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    headers: HeaderMap,
    Params(query): Params<RecentQuery>,
) -> Result<Response, Problem> {
    list(&shared, Spender::own(login.account), &headers, query).await
}

/// The requests that somebody paid for.
pub(crate) async fn list(
    shared: &Shared,
    whose: Spender,
    headers: &HeaderMap,
    query: RecentQuery,
) -> Result<Response, Problem> {
    let common = Common {
        key_id: query.key_id,
        model: query.model,
        ending: query.ending,
        from: query.from,
        to: query.to,
    };
    let filter = RequestFilter {
        payer: Some(whose.payer),
        member: whose.member,
        failed_attempts: FailedAttempts::Hidden,
        ..common.filter()?
    };
    let page = PageQuery::new(query.cursor, query.limit);
    let wanted = Wanted::new(page, query.format, headers);
    let page = wanted.read(shared, filter).await?;
    wanted.write::<ClientRequest>(&COLUMNS, page)
}
