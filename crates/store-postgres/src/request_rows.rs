//! Usage events as rows of `request_logs`, or of `request_corrections`: all rows of a batch in one statement, a column an array.

use std::borrow::Cow;

use airouter_billing::batch::SettledEvent;
use airouter_billing::event::LossReason;
use airouter_billing::ids::TransactionId;
use airouter_billing::usage::Inference;
use airouter_billing::{Outcome, Timestamp};
use airouter_store::StoreError;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{count, timestamptz, without_nul};
use crate::shared_rows::{SharedRows, SharedRowsOf};

/// The columns of `request_logs`, a batch of rows each.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    api_key_id: Vec<Uuid>,
    payer_id: Vec<Uuid>,
    price_terms_id: Vec<i64>,
    budget_set_id: Vec<i64>,
    generation_id: Vec<Option<Cow<'a, str>>>,
    model: Vec<Option<Cow<'a, str>>>,
    provider: Vec<Option<Cow<'a, str>>>,
    delivery: Vec<&'static str>,
    ending: Vec<&'static str>,
    prompt_tokens: Vec<i64>,
    completion_tokens: Vec<i64>,
    cached_tokens: Vec<i64>,
    cache_write_tokens: Vec<i64>,
    audio_tokens: Vec<i64>,
    reasoning_tokens: Vec<i64>,
    image_output_tokens: Vec<i64>,
    reported_cost: Vec<String>,
    cost_source: Vec<&'static str>,
    upstream_inference_cost: Vec<Option<String>>,
    list_cost: Vec<String>,
    cost_nanos: Vec<i64>,
    charged_nanos: Vec<i64>,
    uncollected_nanos: Vec<i64>,
    charged_requests: Vec<i64>,
    loss_reason: Vec<Option<&'static str>>,
    hold_nanos: Vec<i64>,
    admitted_at: Vec<OffsetDateTime>,
    finished_at: Vec<OffsetDateTime>,
    first_byte_micros: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    fn of(events: &[SettledEvent<'a>], shared: &SharedRowsOf) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for settled in events {
            columns.push(settled, shared.of(settled.event)?);
        }
        Ok(columns)
    }

    fn push(&mut self, settled: &SettledEvent<'a>, shared: SharedRows) {
        let event = settled.event;
        let (request, served, tokens) = (&event.request, &event.served, &event.tokens);
        self.id.push(request.id.get());
        self.api_key_id.push(request.api_key.get());
        self.payer_id.push(request.payer.get());
        self.price_terms_id.push(shared.price_terms);
        self.budget_set_id.push(shared.budget_set);
        self.generation_id
            .push(served.generation_id.as_deref().map(without_nul));
        self.model.push(served.model.as_deref().map(without_nul));
        self.provider
            .push(served.provider.as_deref().map(without_nul));
        self.delivery.push(request.delivery.name());
        self.ending.push(event.ending.name());
        self.prompt_tokens.push(count(tokens.prompt));
        self.completion_tokens.push(count(tokens.completion));
        self.cached_tokens.push(count(tokens.cached));
        self.cache_write_tokens.push(count(tokens.cache_write));
        self.audio_tokens.push(count(tokens.audio));
        self.reasoning_tokens.push(count(tokens.reasoning));
        self.image_output_tokens.push(count(tokens.image_output));
        self.reported_cost.push(event.reported_cost.to_string());
        self.cost_source.push(event.source.name());
        self.upstream_inference_cost.push(match event.inference {
            Inference::Credits => None,
            Inference::OwnProviderKey { upstream_cost } => Some(upstream_cost.to_string()),
        });
        self.list_cost.push(event.list_cost.to_string());
        self.cost_nanos.push(event.cost.get());
        self.charged_nanos.push(settled.covered.charged.get());
        self.uncollected_nanos
            .push(settled.covered.uncollected.get());
        self.charged_requests.push(settled.requests);
        self.loss_reason.push(match event.outcome {
            Outcome::Charged => None,
            Outcome::Lost(reason) => Some(LossReason::name(reason)),
        });
        self.hold_nanos.push(request.hold.get());
        self.admitted_at.push(timestamptz(request.admitted_at));
        self.finished_at.push(timestamptz(event.finished_at));
        self.first_byte_micros
            .push(event.first_byte_micros.map(count));
    }
}

/// Inserts the rows of settled events as a new transaction of the ledger; returns its number.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    events: &[SettledEvent<'_>],
    shared: &SharedRowsOf,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let columns = &Columns::of(events, shared)?;
    sqlx::query_file_scalar!(
        "src/request_rows.sql",
        timestamptz(at),
        &columns.id,
        &columns.api_key_id,
        &columns.payer_id,
        &columns.price_terms_id,
        &columns.budget_set_id,
        &columns.generation_id as _,
        &columns.model as _,
        &columns.provider as _,
        &columns.delivery as _,
        &columns.ending as _,
        &columns.prompt_tokens,
        &columns.completion_tokens,
        &columns.cached_tokens,
        &columns.cache_write_tokens,
        &columns.audio_tokens,
        &columns.reasoning_tokens,
        &columns.image_output_tokens,
        &columns.reported_cost,
        &columns.cost_source as _,
        &columns.upstream_inference_cost as _,
        &columns.list_cost,
        &columns.cost_nanos,
        &columns.charged_nanos,
        &columns.uncollected_nanos,
        &columns.charged_requests,
        &columns.loss_reason as _,
        &columns.hold_nanos,
        &columns.admitted_at,
        &columns.finished_at,
        &columns.first_byte_micros as _
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

/// Inserts the rows that stand in place of losses of the transaction `corrects`, as a new transaction of the ledger;
/// returns its number.
pub(crate) async fn insert_corrections(
    connection: &mut PgConnection,
    corrects: TransactionId,
    events: &[SettledEvent<'_>],
    shared: &SharedRowsOf,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let columns = &Columns::of(events, shared)?;
    sqlx::query_file_scalar!(
        "src/correction_rows.sql",
        timestamptz(at),
        &columns.id,
        &columns.api_key_id,
        &columns.payer_id,
        &columns.price_terms_id,
        &columns.budget_set_id,
        &columns.generation_id as _,
        &columns.model as _,
        &columns.provider as _,
        &columns.delivery as _,
        &columns.ending as _,
        &columns.prompt_tokens,
        &columns.completion_tokens,
        &columns.cached_tokens,
        &columns.cache_write_tokens,
        &columns.audio_tokens,
        &columns.reasoning_tokens,
        &columns.image_output_tokens,
        &columns.reported_cost,
        &columns.cost_source as _,
        &columns.upstream_inference_cost as _,
        &columns.list_cost,
        &columns.cost_nanos,
        &columns.charged_nanos,
        &columns.uncollected_nanos,
        &columns.charged_requests,
        &columns.loss_reason as _,
        &columns.hold_nanos,
        &columns.admitted_at,
        &columns.finished_at,
        &columns.first_byte_micros as _,
        corrects.get()
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}
