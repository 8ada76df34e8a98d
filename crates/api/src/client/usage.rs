//! `/v1/client/usage` and what is beside it: what an account has used.

pub(crate) mod daily;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod models;
pub(crate) mod total;

use airouter_billing::{AccountId, ApiKeyId};
use airouter_store::usage::{UsageRow, UsageSums};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::Problem;
use crate::report_time::ReportTime;
use crate::shared::Shared;
use crate::values::{Id, Time, Usd};

/// Whose use a report is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spender {
    /// Who paid.
    pub(crate) payer: AccountId,
    /// Only with keys of this account.
    pub(crate) member: Option<AccountId>,
}

impl Spender {
    /// What an account of its own paid for.
    pub(crate) const fn own(account: AccountId) -> Self {
        Self {
            payer: account,
            member: None,
        }
    }
}

/// Longer names are no model's.
const LONGEST_MODEL: usize = 256;

/// What was used.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct UsageLine {
    /// In daily reports, the day in the report's time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-20")]
    date: Option<String>,
    /// In reports by model, its name as the answers gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "openai/gpt-4o-mini")]
    model: Option<String>,
    /// In reports by key, its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<Id>,
    /// In reports by key, its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<String>,
    /// In reports by member, the account of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<Id>,
    /// In reports by member, the person's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Requests that were served, whole or in part.
    requests: u64,
    /// Those of them that broke off without the client's doing.
    errors: u64,
    /// Those of them whose client left before the end.
    cancelled: u64,
    /// Tokens of the prompts.
    prompt_tokens: u64,
    /// Tokens of the answers.
    completion_tokens: u64,
    /// Prompt tokens that were read from a cache.
    cached_tokens: u64,
    /// Prompt tokens that were written to a cache.
    cache_write_tokens: u64,
    /// Prompt tokens that are audio.
    audio_tokens: u64,
    /// Answer tokens spent on reasoning.
    reasoning_tokens: u64,
    /// Answer tokens that are images.
    image_output_tokens: u64,
    /// What was paid.
    charged: Usd,
}

/// The columns of a line as CSV, after those that say what it is about.
const COLUMNS: [&str; 11] = [
    "requests",
    "errors",
    "cancelled",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "image_output_tokens",
    "charged",
];

/// The columns of lines that are about something.
fn columns(about: &[&'static str]) -> Vec<&'static str> {
    about.iter().copied().chain(COLUMNS).collect()
}

impl From<UsageSums> for UsageLine {
    fn from(sums: UsageSums) -> Self {
        Self {
            requests: sums.requests,
            errors: sums.errors,
            cancelled: sums.cancelled,
            prompt_tokens: sums.tokens.prompt,
            completion_tokens: sums.tokens.completion,
            cached_tokens: sums.tokens.cached,
            cache_write_tokens: sums.tokens.cache_write,
            audio_tokens: sums.tokens.audio,
            reasoning_tokens: sums.tokens.reasoning,
            image_output_tokens: sums.tokens.image_output,
            charged: Usd(sums.charged),
            ..Self::default()
        }
    }
}

impl UsageLine {
    fn of_day(date: String, sums: UsageSums) -> Self {
        Self {
            date: Some(date),
            ..sums.into()
        }
    }

    fn of_model(row: UsageRow) -> Self {
        Self {
            model: Some(row.about),
            ..row.sums.into()
        }
    }

    fn of_member(row: UsageRow) -> Self {
        let id = Uuid::try_parse(&row.about).unwrap_or_default();
        Self {
            account_id: Some(Id(id)),
            name: Some(row.name.unwrap_or_default()),
            ..row.sums.into()
        }
    }

    fn of_key(row: UsageRow) -> Self {
        let id = Uuid::try_parse(&row.about).unwrap_or_default();
        Self {
            key_id: Some(Id(id)),
            key_name: Some(row.name.unwrap_or_default()),
            ..row.sums.into()
        }
    }
}

/// A report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageReport {
    /// Its first moment.
    from: Time,
    /// The first moment after it.
    to: Time,
    /// Whose days it has.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Its lines.
    data: Vec<UsageLine>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

impl UsageReport {
    fn new(time: &ReportTime, data: Vec<UsageLine>, next_cursor: Option<String>) -> Self {
        let period = time.period();
        Self {
            from: Time(period.from.begins()),
            to: Time(period.to.begins()),
            time_zone: time.zone_name().to_owned(),
            data,
            next_cursor,
        }
    }
}

/// The key that a report is only about; it must be one for which the account pays.
async fn key_of(
    shared: &Shared,
    payer: AccountId,
    key: Option<Uuid>,
) -> Result<Option<ApiKeyId>, Problem> {
    let Some(key) = key.map(ApiKeyId::new) else {
        return Ok(None);
    };
    if shared.store.is_key_of_payer(payer, key).await? {
        Ok(Some(key))
    } else {
        Err(Problem::NotFound("key"))
    }
}

/// The model that a report is only about.
pub(crate) fn model_of(model: Option<String>) -> Result<Option<String>, Problem> {
    if model
        .as_ref()
        .is_some_and(|model| model.len() > LONGEST_MODEL)
    {
        return Err(Problem::Invalid {
            field: "model",
            expected: "at most 256 bytes",
        });
    }
    Ok(model)
}
