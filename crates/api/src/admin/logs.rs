//! `/v1/admin/logs`: every request, as the operator sees it.

pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod refund;

use airouter_billing::event::LossReason;
use airouter_billing::usage::Inference;
use airouter_store::requests::{OutcomeFilter, RequestRecord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::requests::{HowItEnded, duration_ms};
use crate::values::{Exact, Id, Time, Usd};

/// Who bore what a request cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogOutcome {
    /// The client was asked to pay.
    Charged,
    /// The client was asked to pay, and its budgets did not cover all of it.
    Uncollected,
    /// The client got something back.
    Refunded,
    /// A loss: a crash cut the answer.
    Crash,
    /// A loss: another attempt served, or none.
    FailedAttempt,
    /// A loss: what the upstream billed could not be found out.
    Unknown,
}

impl From<LogOutcome> for OutcomeFilter {
    fn from(outcome: LogOutcome) -> Self {
        match outcome {
            LogOutcome::Charged => Self::Charged,
            LogOutcome::Uncollected => Self::Uncollected,
            LogOutcome::Refunded => Self::Refunded,
            LogOutcome::Crash => Self::Lost(LossReason::Crash),
            LogOutcome::FailedAttempt => Self::Lost(LossReason::FailedAttempt),
            LogOutcome::Unknown => Self::Lost(LossReason::Unknown),
        }
    }
}

/// A request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoggedRequest {
    /// Its id: `x-request-id` of the answer.
    id: Id,
    /// When it began.
    admitted_at: Time,
    /// When it ended.
    finished_at: Time,
    /// Who pays.
    client_id: Id,
    /// The payer's name.
    client_name: String,
    /// The key that sent it.
    key_id: Id,
    /// What the key is called.
    key_name: Option<String>,
    /// The master account that served.
    master_account_id: Id,
    /// What that is called.
    master_account_name: Option<String>,
    /// The upstream's id of the generation.
    generation_id: Option<String>,
    /// The model as the client asked for it.
    #[schema(example = "openai/gpt-4o-mini")]
    requested_model: String,
    /// The model as the client was told it.
    model: String,
    /// The model as the upstream told it.
    served_model: Option<String>,
    /// The provider that answered.
    provider: Option<String>,
    /// `whole` or `streamed`.
    #[schema(example = "streamed")]
    delivery: &'static str,
    /// How it ended.
    ending: HowItEnded,
    /// Why the client pays nothing: `crash`, `failed_attempt` or `unknown`.
    #[schema(example = "crash")]
    loss: Option<&'static str>,
    /// Whether it was booked as a loss first, and then corrected.
    corrected: bool,
    /// Tokens of the prompt.
    prompt_tokens: u64,
    /// Tokens of the answer.
    completion_tokens: u64,
    /// Tokens of the prompt that were read from a cache.
    cached_tokens: u64,
    /// Tokens of the prompt that were written to a cache.
    cache_write_tokens: u64,
    /// Tokens of the prompt that are audio.
    audio_tokens: u64,
    /// Tokens of the answer spent on reasoning.
    reasoning_tokens: u64,
    /// Tokens of the answer that are images.
    image_output_tokens: u64,
    /// Where the base of the price came from: `reported`, `generation_record` or `price_book`.
    #[schema(example = "reported")]
    cost_source: &'static str,
    /// That base in USD.
    reported_cost: Exact,
    /// What the inference cost at the provider, where it was paid there.
    upstream_inference_cost: Option<Exact>,
    /// What the upstream lists for it, in USD.
    list_cost: Exact,
    /// What it cost the operator.
    cost: Usd,
    /// The price.
    price: Usd,
    /// What of it was charged.
    charged: Usd,
    /// What of it no budget covered.
    uncollected: Usd,
    /// What was given back.
    refunded: Usd,
    /// What is left of the charge above the cost; below 0 it is a loss.
    margin: Usd,
    /// Milliseconds to the first byte, if one was sent.
    first_byte_ms: Option<u64>,
    /// Milliseconds to the end.
    duration_ms: u64,
    /// The transaction of the ledger that books it.
    transaction_id: i64,
}

const COLUMNS: [&str; 38] = [
    "id",
    "admitted_at",
    "finished_at",
    "client_id",
    "client_name",
    "key_id",
    "key_name",
    "master_account_id",
    "master_account_name",
    "generation_id",
    "requested_model",
    "model",
    "served_model",
    "provider",
    "delivery",
    "ending",
    "loss",
    "corrected",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "image_output_tokens",
    "cost_source",
    "reported_cost",
    "upstream_inference_cost",
    "list_cost",
    "cost",
    "price",
    "charged",
    "uncollected",
    "refunded",
    "margin",
    "first_byte_ms",
    "duration_ms",
    "transaction_id",
];

impl From<RequestRecord> for LoggedRequest {
    fn from(request: RequestRecord) -> Self {
        let margin = request
            .covered
            .charged
            .saturating_sub(request.refunded)
            .saturating_sub(request.cost);
        Self {
            id: Id(request.id.get()),
            admitted_at: Time(request.admitted_at),
            finished_at: Time(request.finished_at),
            client_id: Id(request.sender.payer.get()),
            key_id: Id(request.sender.key.get()),
            master_account_id: Id(request.terms.master_account.get()),
            model: request.shown_model().to_owned(),
            price: Usd(request.price()),
            duration_ms: duration_ms(&request),
            client_name: request.sender.payer_name,
            key_name: request.sender.key_name,
            master_account_name: request.server.name,
            generation_id: request.server.generation_id,
            requested_model: request.terms.requested_model,
            served_model: request.server.model,
            provider: request.server.provider,
            delivery: request.delivery.name(),
            ending: request.ending.into(),
            loss: request.loss.map(LossReason::name),
            corrected: request.is_corrected,
            prompt_tokens: request.tokens.prompt,
            completion_tokens: request.tokens.completion,
            cached_tokens: request.tokens.cached,
            cache_write_tokens: request.tokens.cache_write,
            audio_tokens: request.tokens.audio,
            reasoning_tokens: request.tokens.reasoning,
            image_output_tokens: request.tokens.image_output,
            cost_source: request.source.name(),
            reported_cost: Exact(request.reported_cost),
            upstream_inference_cost: match request.inference {
                Inference::Credits => None,
                Inference::OwnProviderKey { upstream_cost } => Some(Exact(upstream_cost)),
            },
            list_cost: Exact(request.list_cost),
            cost: Usd(request.cost),
            charged: Usd(request.covered.charged),
            uncollected: Usd(request.covered.uncollected),
            refunded: Usd(request.refunded),
            margin: Usd(margin),
            first_byte_ms: request.first_byte_micros.map(|micros| micros / 1_000),
            transaction_id: request.transaction,
        }
    }
}
