//! What an account asks of itself: `GET /models`, `/generation`, `/credits`, `/key`, `/activity`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    body::SimulatedBody,
    books::{
        Account, AccountState, Activity, ActivityKey, DAY_MICROSECONDS, Generation,
        GenerationState, KeyKind, RecordedCost,
    },
    chat::{account_fault, bearer},
    errors::{ApiError, USER_ID},
    meter,
    money::Picodollars,
    shared::Shared,
};

/// The body of an answer of the account API; `None` when the account never answers.
pub(crate) type AccountAnswer = Result<Option<Bytes>, ApiError>;

/// A JSON answer with status 200.
pub(crate) fn json_response(body: impl Into<bytes::Bytes>) -> Response<SimulatedBody> {
    let mut response = Response::new(SimulatedBody::whole(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// An exact amount as a JSON number.
fn number(amount: Picodollars) -> Box<RawValue> {
    RawValue::from_string(amount.to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// What kind of key asks, and for which account; `None` when that account never answers.
fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
) -> Result<Option<(KeyKind, Arc<str>)>, ApiError> {
    let books = shared.books();
    let (kind, key, account) = books
        .account(bearer(headers, shared.speaks)?)
        .ok_or_else(ApiError::unauthorized)?;
    match account.state {
        AccountState::Hanging => Ok(None),
        AccountState::Broke | AccountState::KeyLimited => Ok(Some((kind, key))),
        state => match account_fault(state) {
            Some(error) => Err(error),
            None => Ok(Some((kind, key))),
        },
    }
}

/// `GET /models` of a compatible server, which wants a key.
pub(crate) fn models(shared: &Shared, headers: &HeaderMap) -> AccountAnswer {
    Ok(authenticate(shared, headers)?.map(|_| shared.models.clone()))
}

/// `GET /credits`: management keys only.
pub(crate) fn credits(shared: &Shared, headers: &HeaderMap) -> AccountAnswer {
    let Some((kind, key)) = authenticate(shared, headers)? else {
        return Ok(None);
    };
    if kind == KeyKind::Inference {
        return Err(ApiError::wrong_kind_of_key());
    }
    let books = shared.books();
    let (_, _, account) = books.account(&key).ok_or_else(ApiError::unauthorized)?;
    Ok(Some(Bytes::from(format!(
        "{{\"data\":{{\"total_credits\":{},\"total_usage\":{}}}}}",
        account.credit, account.billed
    ))))
}

/// `GET /key`: the key itself, without a limit of its own.
pub(crate) fn key(shared: &Shared, headers: &HeaderMap) -> AccountAnswer {
    let Some((kind, key)) = authenticate(shared, headers)? else {
        return Ok(None);
    };
    let books = shared.books();
    let (_, _, account) = books.account(&key).ok_or_else(ApiError::unauthorized)?;
    let (used, byok) = (account.billed, account.provider_billed);
    let today = today();
    let (daily, weekly, monthly) = (
        account.charged_since(today),
        account.charged_since(today - (today + 3) % 7),
        account.charged_since(today + 1 - civil(today).2),
    );
    let management = kind == KeyKind::Management;
    Ok(Some(Bytes::from(format!(
        "{{\"data\":{{\"label\":\"sk-or-v1-sim...ted\",\"limit\":null,\"limit_remaining\":null,\"limit_reset\":null,\
         \"include_byok_in_limit\":false,\"usage\":{used},\"usage_daily\":{},\"usage_weekly\":{},\
         \"usage_monthly\":{},\"byok_usage\":{byok},\"byok_usage_daily\":{},\"byok_usage_weekly\":{},\
         \"byok_usage_monthly\":{},\"expires_at\":null,\"is_free_tier\":false,\"is_management_key\":{management},\
         \"is_provisioning_key\":{management},\"creator_user_id\":\"{USER_ID}\",\
         \"rate_limit\":{{\"requests\":-1,\"interval\":\"10s\",\"note\":\"deprecated\"}}}}}}",
        daily.cost, weekly.cost, monthly.cost, daily.provider, weekly.provider, monthly.provider
    ))))
}

/// Days since 1970: 1970-01-01 was a Thursday.
fn today() -> u64 {
    meter::now() / DAY_MICROSECONDS
}

/// `GET /activity`: what was used in the last thirty days that are over; management keys only.
pub(crate) fn activity(shared: &Shared, headers: &HeaderMap, query: Option<&str>) -> AccountAnswer {
    let Some((kind, key)) = authenticate(shared, headers)? else {
        return Ok(None);
    };
    if kind == KeyKind::Inference {
        return Err(ApiError::wrong_kind_of_key());
    }
    let wanted = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("date="));
    let (first, today) = (today().saturating_sub(ACTIVITY_DAYS), today());
    let is_told = |key: &ActivityKey| {
        (first..today).contains(&key.day) && wanted.is_none_or(|wanted| date(key.day) == wanted)
    };
    if wanted.is_some_and(|wanted| !(first..today).any(|day| date(day) == wanted)) {
        return Err(ApiError::bad_request(
            "Date must be within the last 30 (completed) UTC days",
        ));
    }
    let books = shared.books();
    let (_, _, account) = books.account(&key).ok_or_else(ApiError::unauthorized)?;
    let rows: Vec<ActivityRow<'_>> = rows_of(account).filter(|row| is_told(row.key)).collect();
    serde_json::to_string(&Envelope { data: rows })
        .map(|text| Some(Bytes::from(text)))
        .map_err(|_| ApiError::server())
}

/// Days that `/activity` goes back.
const ACTIVITY_DAYS: u64 = 30;

fn rows_of(account: &Account) -> impl Iterator<Item = ActivityRow<'_>> {
    account
        .activity
        .iter()
        .map(|(key, row)| ActivityRow::of(key, row))
}

/// One row: a day, a model and who served it. Amounts are numbers with all their digits.
#[derive(Serialize)]
struct ActivityRow<'a> {
    #[serde(skip)]
    key: &'a ActivityKey,
    date: String,
    model: &'a str,
    model_permaslug: &'a str,
    endpoint_id: String,
    provider_name: &'a str,
    usage: Box<RawValue>,
    byok_usage_inference: Box<RawValue>,
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
}

impl<'a> ActivityRow<'a> {
    fn of(key: &'a ActivityKey, row: &Activity) -> Self {
        Self {
            key,
            date: date(key.day),
            model: &key.model,
            model_permaslug: &key.model,
            endpoint_id: format!("{}/{}", key.model, key.provider),
            provider_name: &key.provider,
            usage: number(row.charge.cost),
            byok_usage_inference: number(row.charge.provider),
            requests: row.requests,
            prompt_tokens: row.tokens.prompt,
            completion_tokens: row.tokens.completion,
            reasoning_tokens: row.tokens.reasoning,
        }
    }
}

/// `2026-11-20`, of days since 1970.
fn date(day: u64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `GET /generation?id=`: 404 until the record is written.
pub(crate) fn generation(
    shared: &Shared,
    headers: &HeaderMap,
    query: Option<&str>,
) -> AccountAnswer {
    let Some((_, key)) = authenticate(shared, headers)? else {
        return Ok(None);
    };
    let id = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("id="))
        .ok_or_else(|| ApiError::bad_request("id: required"))?;
    let missing = || ApiError::not_found(format!("Generation {id} not found"));
    let wanted = Shared::number(id).ok_or_else(missing)?;
    let books = shared.books();
    let row = books.generation(wanted).ok_or_else(missing)?;
    let same = shared.id(row.number, row.started_at) == id && row.key == key;
    if !same || row.available_at > meter::now() || row.state == GenerationState::Running {
        return Err(missing());
    }
    serde_json::to_string(&Envelope {
        data: Record::of(id, row, books.settings.generation_cost),
    })
    .map(|record| Some(record.into()))
    .map_err(|_| ApiError::server())
}

#[derive(Serialize)]
struct Envelope<T> {
    data: T,
}

/// The generation record. Amounts are numbers with all their digits.
#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    upstream_id: Option<&'a str>,
    created_at: String,
    model: &'a str,
    provider_name: &'a str,
    api_type: &'static str,
    streamed: bool,
    cancelled: bool,
    finish_reason: Option<&'a str>,
    native_finish_reason: Option<&'a str>,
    /// Milliseconds.
    generation_time: u64,
    /// Milliseconds.
    latency: u64,
    tokens_prompt: u64,
    tokens_completion: u64,
    native_tokens_prompt: u64,
    native_tokens_completion: u64,
    native_tokens_reasoning: u64,
    native_tokens_cached: u64,
    native_tokens_completion_images: u64,
    num_media_prompt: Option<u64>,
    num_media_completion: Option<u64>,
    num_search_results: Option<u64>,
    usage: Box<RawValue>,
    total_cost: Box<RawValue>,
    upstream_inference_cost: Box<RawValue>,
    cache_discount: Option<u64>,
    is_byok: bool,
    service_tier: Option<&'a str>,
    app_id: Option<u64>,
    origin: &'static str,
    external_user: Option<&'a str>,
}

impl<'a> Record<'a> {
    fn of(id: &'a str, row: &'a Generation, told: RecordedCost) -> Self {
        let cost = || match told {
            RecordedCost::Told => number(row.charge.cost),
            RecordedCost::Hidden => RawValue::NULL.to_owned(),
        };
        let cancelled = row.state == GenerationState::Cancelled;
        let finish_reason = (!cancelled).then_some(row.finish_reason);
        let milliseconds = row.ended_at.saturating_sub(row.started_at) / 1000;
        Self {
            id,
            upstream_id: None,
            created_at: timestamp(row.started_at),
            model: &row.model,
            provider_name: &row.provider,
            api_type: "completions",
            streamed: row.streamed,
            cancelled,
            finish_reason,
            native_finish_reason: finish_reason,
            generation_time: milliseconds,
            latency: milliseconds,
            tokens_prompt: row.tokens.prompt,
            tokens_completion: row.tokens.completion,
            native_tokens_prompt: row.tokens.prompt,
            native_tokens_completion: row.tokens.completion,
            native_tokens_reasoning: row.tokens.reasoning,
            native_tokens_cached: row.tokens.cached,
            native_tokens_completion_images: row.tokens.image,
            num_media_prompt: None,
            num_media_completion: None,
            num_search_results: None,
            usage: cost(),
            total_cost: cost(),
            upstream_inference_cost: number(row.charge.provider),
            cache_discount: None,
            is_byok: row.byok,
            service_tier: None,
            app_id: None,
            origin: "",
            external_user: row.user.as_deref(),
        }
    }
}

/// RFC 3339 in UTC, of microseconds since the epoch.
fn timestamp(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    format!(
        "{}T{:02}:{:02}:{:02}.{:03}Z",
        date(days),
        second / 3600,
        second / 60 % 60,
        second % 60,
        microseconds / 1000 % 1000
    )
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(1_709_210_096_789_000), "2024-02-29T12:34:56.789Z");
        assert_eq!(timestamp(1_798_761_599_000_000), "2026-12-31T23:59:59.000Z");
    }
}
