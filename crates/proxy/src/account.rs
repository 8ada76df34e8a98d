//! OpenRouter's account routes for a client key: `/key`, `/credits`, `/generation` (wire-contract §1.6, §1.7), with the
//! client's own numbers.

use airouter_billing::event::{Delivery, Ending, Payment};
use airouter_billing::{Nanos, Period, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::KeySnapshot;
use airouter_store::reports::ClientGeneration;
use http::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;

use crate::body::AnswerBody;
use crate::gateway::Gateway;
use crate::models::json_answer;
use crate::problem::Problem;

/// The longest id of a generation that is looked up.
const ID_BYTES_MAX: usize = 256;

/// An amount in USD as a JSON number, printed without going through floating point.
#[derive(Serialize)]
#[serde(transparent)]
struct Usd(Box<RawValue>);

impl From<Nanos> for Usd {
    fn from(amount: Nanos) -> Self {
        let number = RawValue::from_string(amount.to_string());
        // A decimal number is always JSON.
        Self(number.unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct Key<'a> {
    label: &'a str,
    name: &'a str,
    limit: Option<Usd>,
    limit_remaining: Option<Usd>,
    limit_reset: Option<&'static str>,
    include_byok_in_limit: bool,
    usage: Usd,
    usage_daily: Usd,
    usage_weekly: Usd,
    usage_monthly: Usd,
    byok_usage: u8,
    byok_usage_daily: u8,
    byok_usage_weekly: u8,
    byok_usage_monthly: u8,
    expires_at: Option<String>,
    is_free_tier: bool,
    is_management_key: bool,
    is_provisioning_key: bool,
    rate_limit: RateLimit,
}

#[derive(Serialize)]
struct RateLimit {
    requests: i64,
    interval: &'static str,
}

#[derive(Serialize)]
struct Credits {
    total_credits: Usd,
    total_usage: Usd,
}

#[derive(Serialize)]
struct Generation<'a> {
    id: &'a str,
    request_id: String,
    api_type: &'static str,
    model: &'a str,
    provider_name: Option<&'a str>,
    created_at: Option<String>,
    streamed: bool,
    cancelled: bool,
    latency: Option<u64>,
    generation_time: u64,
    tokens_prompt: u64,
    tokens_completion: u64,
    native_tokens_prompt: u64,
    native_tokens_completion: u64,
    native_tokens_reasoning: u64,
    native_tokens_cached: u64,
    usage: Usd,
    total_cost: Usd,
    is_byok: bool,
}

/// `GET /api/v1/key`
pub(crate) async fn key(
    gateway: &Gateway,
    snapshot: &KeySnapshot,
) -> Result<Response<AnswerBody>, Problem> {
    let usage = gateway
        .store
        .key_usage(snapshot.key, gateway.clock.now())
        .await
        .map_err(away)?;
    let limit = usage.limit;
    answer(&Key {
        label: &snapshot.preview,
        name: &snapshot.name,
        limit: limit.map(|limit| limit.cap.into()),
        limit_remaining: limit.map(|limit| limit.remaining.into()),
        limit_reset: limit.and_then(|limit| reset_name(limit.period)),
        include_byok_in_limit: true,
        usage: usage.total.into(),
        usage_daily: usage.daily.into(),
        usage_weekly: usage.weekly.into(),
        usage_monthly: usage.monthly.into(),
        byok_usage: 0,
        byok_usage_daily: 0,
        byok_usage_weekly: 0,
        byok_usage_monthly: 0,
        expires_at: snapshot.expires_at.and_then(rfc3339),
        is_free_tier: false,
        is_management_key: false,
        is_provisioning_key: false,
        rate_limit: RateLimit {
            requests: -1,
            interval: "10s",
        },
    })
}

/// `GET /api/v1/credits`: the client's own, for any client key. What was taken back is not shown as credit: the balance is
/// the difference. Who pays later has what is left of the limit; without one, there is no credit to tell of.
pub(crate) async fn credits(
    gateway: &Gateway,
    snapshot: &KeySnapshot,
) -> Result<Response<AnswerBody>, Problem> {
    let (left, used) = match snapshot.payment {
        Payment::Prepaid => {
            let balance = gateway.store.balance(snapshot.payer).await.map_err(away)?;
            (balance.balance, balance.lifetime_spent)
        }
        Payment::Metered => {
            let usage = gateway.store.key_usage(snapshot.key, gateway.clock.now());
            let usage = usage.await.map_err(away)?;
            let limit = usage.limit.ok_or(Problem::NoCredit)?;
            (limit.remaining, usage.total)
        }
    };
    answer(&Credits {
        total_credits: left.saturating_add(used).into(),
        total_usage: used.into(),
    })
}

/// `GET /api/v1/generation?id=`
pub(crate) async fn generation(
    gateway: &Gateway,
    snapshot: &KeySnapshot,
    id: Option<&str>,
) -> Result<Response<AnswerBody>, Problem> {
    let id = id
        .filter(|id| id.len() <= ID_BYTES_MAX)
        .ok_or(Problem::UnknownGeneration)?;
    let payer = snapshot.payer;
    // Asked first: what is settled in between is found by the second question.
    let is_pending = gateway.store.is_generation_pending(payer, id);
    let is_pending = is_pending.await.map_err(away)?;
    let found = gateway.store.generation(payer, id).await.map_err(away)?;
    match found {
        Some(found) => answer(&shown(&found)),
        None if is_pending => Err(Problem::GenerationPending),
        None => Err(Problem::UnknownGeneration),
    }
}

fn shown(record: &ClientGeneration) -> Generation<'_> {
    let tokens = record.tokens;
    Generation {
        id: &record.generation_id,
        request_id: record.request.to_string(),
        api_type: "completions",
        model: &record.model,
        provider_name: record.provider.as_deref(),
        created_at: rfc3339(record.admitted_at),
        streamed: record.delivery == Delivery::Streamed,
        cancelled: record.ending == Ending::ClientGone,
        latency: record.first_byte_micros.map(|micros| micros / 1_000),
        generation_time: record.finished_at.micros_since(record.admitted_at) / 1_000,
        tokens_prompt: tokens.prompt,
        tokens_completion: tokens.completion,
        native_tokens_prompt: tokens.prompt,
        native_tokens_completion: tokens.completion,
        native_tokens_reasoning: tokens.reasoning,
        native_tokens_cached: tokens.cached,
        usage: record.charged.into(),
        total_cost: record.charged.into(),
        is_byok: false,
    }
}

fn answer<T: Serialize>(data: &T) -> Result<Response<AnswerBody>, Problem> {
    serde_json::to_string(&Data { data })
        .map(json_answer)
        .map_err(|_| Problem::StoreUnavailable)
}

fn away(error: StoreError) -> Problem {
    tracing::warn!(%error, "an account could not be looked up");
    Problem::StoreUnavailable
}

const fn reset_name(period: Period) -> Option<&'static str> {
    match period {
        Period::None => None,
        Period::Day => Some("daily"),
        Period::Week => Some("weekly"),
        Period::Month => Some("monthly"),
    }
}

fn rfc3339(at: Timestamp) -> Option<String> {
    at.to_utc()?.format(&Rfc3339).ok()
}
