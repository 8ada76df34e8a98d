//! `/_sim/…`: the tests' side door. Reads the books, changes accounts and settings.
//!
//! - `GET books`: sums, by key too, in picodollars (texts).
//! - `GET generations?since=N`: every request from number N on, a page at a time.
//! - `GET last_request`: headers and body of the last chat request as they arrived.
//! - `PUT accounts/{key}`: `{"state": …, "credit_usd": "…"}`; makes the account if there is none.
//! - `PUT config`: `{"prompt_tokens_per_byte", "generation_delay_ms", "generation_delay_after_abort_ms",
//!   "generation_cost_hidden"}`.
//! - `POST reset`: forgets everything and returns to how it was started.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    account_api::json_response,
    body::SimulatedBody,
    books::{Account, AccountState, Generation, RecordedCost},
    money::Picodollars,
    shared::Shared,
};

/// Control requests are small.
const MAXIMUM_BODY_BYTES: usize = 64 * 1024;
/// Rows in one answer of the list of generations.
const PAGE: usize = 20_000;

/// What is to change of an account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountChange {
    state: Option<AccountState>,
    /// The whole credit ever bought, in USD.
    credit_usd: Option<String>,
}

/// What is to change of the settings; a zero for `prompt_tokens_per_byte` returns to counting the messages.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsChange {
    prompt_tokens_per_byte: Option<u32>,
    generation_delay_ms: Option<u32>,
    generation_delay_after_abort_ms: Option<u32>,
    /// Not zero: generation records don't say what was charged.
    generation_cost_hidden: Option<u32>,
}

/// Answers one control request; `path` is what follows `/_sim/`.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    path: &str,
    request: Request<Incoming>,
) -> Response<SimulatedBody> {
    let method = request.method().clone();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let result = match (method, path) {
        (Method::GET, "books") => Ok(books(shared)),
        (Method::GET, "generations") => generations(shared, &query),
        (Method::GET, "last_request") => last_request(shared),
        (Method::POST, "reset") => {
            shared.books().reset();
            Ok(json!({ "reset": true }))
        }
        (Method::PUT, "config") => read(request)
            .await
            .map(|change| change_settings(shared, &change)),
        (Method::PUT, path) => match path.strip_prefix("accounts/") {
            Some(key) => match read(request).await {
                Ok(change) => change_account(shared, key, &change),
                Err(error) => Err(error),
            },
            None => Err((StatusCode::NOT_FOUND, "no such control")),
        },
        _ => Err((StatusCode::NOT_FOUND, "no such control")),
    };
    match result {
        Ok(body) => json_response(body.to_string()),
        Err((status, message)) => {
            let mut response = json_response(json!({ "error": message }).to_string());
            *response.status_mut() = status;
            response
        }
    }
}

type Controlled = Result<Value, (StatusCode, &'static str)>;

async fn read<T: DeserializeOwned>(
    request: Request<Incoming>,
) -> Result<T, (StatusCode, &'static str)> {
    let bad = (
        StatusCode::BAD_REQUEST,
        "the body is not what this control takes",
    );
    let body = Limited::new(request.into_body(), MAXIMUM_BODY_BYTES)
        .collect()
        .await
        .map_err(|_| bad)?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| bad)
}

#[derive(Serialize)]
struct AccountRow {
    picodollars: String,
    provider_picodollars: String,
    requests: u64,
    credit_usd: String,
    state: AccountState,
}

impl AccountRow {
    fn of(account: &Account) -> Self {
        Self {
            picodollars: account.billed.get().to_string(),
            provider_picodollars: account.provider_billed.get().to_string(),
            requests: account.requests,
            credit_usd: account.credit.to_string(),
            state: account.state,
        }
    }
}

fn books(shared: &Shared) -> Value {
    let books = shared.books();
    let by_key: BTreeMap<&str, AccountRow> = books
        .accounts()
        .map(|(key, account)| (&**key, AccountRow::of(account)))
        .collect();
    json!({
        "total_picodollars": books.totals.billed.get().to_string(),
        "total_provider_picodollars": books.totals.provider_billed.get().to_string(),
        "requests": books.totals.requests,
        "running": books.totals.running,
        "by_key": by_key,
    })
}

/// A page of generations from number `since` on; `next` is where the next page begins.
fn generations(shared: &Shared, query: &str) -> Controlled {
    let since = match query.strip_prefix("since=") {
        Some(number) => number
            .parse()
            .map_err(|_| (StatusCode::BAD_REQUEST, "since: not a number"))?,
        None => 0,
    };
    let rows: Vec<Generation> = shared
        .books()
        .generations_since(since)
        .take(PAGE)
        .cloned()
        .collect();
    let next = rows.last().map_or(since, |row| row.number + 1);
    let rows: Vec<Value> = rows.iter().map(|row| generation(shared, row)).collect();
    Ok(json!({ "generations": rows, "next": next }))
}

fn generation(shared: &Shared, row: &Generation) -> Value {
    let seen: BTreeMap<&str, &str> = row
        .seen
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    json!({
        "number": row.number,
        "id": shared.id(row.number, row.started_at),
        "key": &*row.key,
        "model": row.model,
        "provider": row.provider,
        "started_at_us": row.started_at,
        "ended_at_us": row.ended_at,
        "state": row.state.name(),
        "status": row.status,
        "streamed": row.streamed,
        "is_byok": row.byok,
        "prompt_tokens": row.tokens.prompt,
        "cached_tokens": row.tokens.cached,
        "cache_write_tokens": row.tokens.cache_write,
        "completion_tokens": row.tokens.completion,
        "reasoning_tokens": row.tokens.reasoning,
        "cost_picodollars": row.charge.cost.get().to_string(),
        "provider_picodollars": row.charge.provider.get().to_string(),
        "seen": seen,
        "user": row.user,
        "max_tokens": row.max_tokens,
        "max_price": row.max_price,
    })
}

fn last_request(shared: &Shared) -> Controlled {
    let books = shared.books();
    let Some(last) = &books.last_request else {
        return Err((StatusCode::NOT_FOUND, "no request yet"));
    };
    Ok(json!({
        "id": shared.id(last.number, last.started_at),
        "headers": header_texts(&last.headers),
        "body": String::from_utf8_lossy(&last.body),
    }))
}

fn header_texts(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        texts
            .entry(name.as_str())
            .and_modify(|text| {
                text.push_str(", ");
                text.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    texts
}

fn change_settings(shared: &Shared, change: &SettingsChange) -> Value {
    let mut books = shared.books();
    let settings = &mut books.settings;
    if let Some(tokens) = change.prompt_tokens_per_byte {
        settings.prompt_tokens_per_byte = (tokens > 0).then_some(tokens);
    }
    if let Some(delay) = change.generation_delay_ms {
        settings.generation_delay_ms = delay;
    }
    if let Some(delay) = change.generation_delay_after_abort_ms {
        settings.generation_delay_after_abort_ms = delay;
    }
    if let Some(hidden) = change.generation_cost_hidden {
        settings.generation_cost = match hidden {
            0 => RecordedCost::Told,
            _ => RecordedCost::Hidden,
        };
    }
    json!({
        "prompt_tokens_per_byte": settings.prompt_tokens_per_byte,
        "generation_delay_ms": settings.generation_delay_ms,
        "generation_delay_after_abort_ms": settings.generation_delay_after_abort_ms,
    })
}

fn change_account(shared: &Shared, key: &str, change: &AccountChange) -> Controlled {
    let credit = change
        .credit_usd
        .as_deref()
        .map(Picodollars::parse)
        .transpose()
        .map_err(|_| (StatusCode::BAD_REQUEST, "credit_usd: not an amount"))?;
    let mut books = shared.books();
    let account = books
        .account_or_new(key)
        .ok_or((StatusCode::INSUFFICIENT_STORAGE, "too many accounts"))?;
    if let Some(state) = change.state {
        account.state = state;
    }
    if let Some(credit) = credit {
        account.credit = credit;
    }
    Ok(json!(AccountRow::of(account)))
}
