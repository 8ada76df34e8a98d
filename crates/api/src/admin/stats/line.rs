//! A line of the operator's report.

use airouter_billing::Nanos;
use airouter_store::usage::{UsageRow, UsageSums};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::GroupBy;
use crate::values::{Id, Usd};

/// What a part of the business came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatsLine {
    /// The day in the report's time zone, if these are days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-20")]
    date: Option<String>,
    /// The model, if these are models.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "openai/gpt-4o-mini")]
    model: Option<String>,
    /// The master account, if these are master accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    master_account_id: Option<Id>,
    /// The client's account, if these are clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Id>,
    /// What the master account or the client is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Requests that were served, whole or in part.
    requests: u64,
    /// Attempts that the upstream billed and that served nobody.
    failed_attempts: u64,
    /// Requests whose answers broke off: the upstream's fault, or ours.
    errors: u64,
    /// Requests whose clients left before the end.
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
    /// What the upstream's list prices come to, each request rounded to the nano-dollar.
    list_cost: Usd,
    /// What clients were asked to pay.
    revenue: Usd,
    /// What they paid of it.
    charged: Usd,
    /// What the requests cost for which they were asked to.
    cost: Usd,
    /// Revenue without cost and losses.
    margin: Usd,
    /// The margin in percent of the revenue; null without revenue.
    #[schema(example = "62.5")]
    margin_percent: Option<String>,
    /// All losses together.
    losses: Usd,
    /// What answers cost that a crash of ours cut.
    loss_crash: Usd,
    /// What budgets did not cover of prices.
    loss_uncollected: Usd,
    /// What failed attempts cost.
    loss_failed_attempt: Usd,
    /// What requests cost whose usage never came.
    loss_unknown: Usd,
    /// From admission to the first byte, the mean in milliseconds; null where nothing went out.
    mean_first_byte_ms: Option<u64>,
    /// From admission to the end, the mean in milliseconds; null without requests.
    mean_duration_ms: Option<u64>,
}

/// The columns of a line as CSV, after those that say what it is about.
const COLUMNS: [&str; 24] = [
    "requests",
    "failed_attempts",
    "errors",
    "cancelled",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "image_output_tokens",
    "list_cost",
    "revenue",
    "charged",
    "cost",
    "margin",
    "margin_percent",
    "losses",
    "loss_crash",
    "loss_uncollected",
    "loss_failed_attempt",
    "loss_unknown",
    "mean_first_byte_ms",
    "mean_duration_ms",
];

impl StatsLine {
    /// A line about a day.
    pub(super) fn of_day(date: String, sums: UsageSums) -> Self {
        Self {
            date: Some(date),
            ..sums.into()
        }
    }

    /// A line about what `by` divides into.
    pub(super) fn of(by: GroupBy, row: UsageRow) -> Self {
        let line = Self::from(row.sums);
        let id = || Uuid::try_parse(&row.about).ok().map(Id);
        match by {
            GroupBy::Day => line,
            GroupBy::MasterAccount => Self {
                master_account_id: id().or(Some(Id(Uuid::nil()))),
                name: Some(row.name.unwrap_or_default()),
                ..line
            },
            GroupBy::Client => Self {
                client_id: id().or(Some(Id(Uuid::nil()))),
                name: Some(row.name.unwrap_or_default()),
                ..line
            },
            GroupBy::Model => Self {
                model: Some(row.about),
                ..line
            },
        }
    }

    /// The names of the columns, in the order of the members.
    pub(super) fn columns(by: GroupBy) -> Vec<&'static str> {
        let about: &[&'static str] = match by {
            GroupBy::Day => &["date"],
            GroupBy::Model => &["model"],
            GroupBy::MasterAccount => &["master_account_id", "name"],
            GroupBy::Client => &["client_id", "name"],
        };
        about.iter().copied().chain(COLUMNS).collect()
    }
}

impl From<UsageSums> for StatsLine {
    fn from(sums: UsageSums) -> Self {
        Self {
            date: None,
            model: None,
            master_account_id: None,
            client_id: None,
            name: None,
            requests: sums.requests,
            failed_attempts: sums.failed_attempts,
            errors: sums.errors,
            cancelled: sums.cancelled,
            prompt_tokens: sums.tokens.prompt,
            completion_tokens: sums.tokens.completion,
            cached_tokens: sums.tokens.cached,
            cache_write_tokens: sums.tokens.cache_write,
            audio_tokens: sums.tokens.audio,
            reasoning_tokens: sums.tokens.reasoning,
            image_output_tokens: sums.tokens.image_output,
            list_cost: Usd(sums.list_cost),
            revenue: Usd(sums.price),
            charged: Usd(sums.charged),
            cost: Usd(sums.cost),
            margin: Usd(sums.margin()),
            margin_percent: percent(sums.margin(), sums.price),
            losses: Usd(sums.losses.total()),
            loss_crash: Usd(sums.losses.crash),
            loss_uncollected: Usd(sums.losses.uncollected),
            loss_failed_attempt: Usd(sums.losses.failed_attempt),
            loss_unknown: Usd(sums.losses.unknown),
            mean_first_byte_ms: mean_millis(sums.first_byte_micros, sums.first_bytes),
            mean_duration_ms: mean_millis(sums.duration_micros, sums.requests),
        }
    }
}

/// To the hundredth.
fn percent(part: Nanos, whole: Nanos) -> Option<String> {
    let hundred = Decimal::ONE_HUNDRED.checked_mul(part.get().into())?;
    let percent = hundred.checked_div(whole.get().into())?;
    let rounded = percent.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven);
    Some(rounded.normalize().to_string())
}

fn mean_millis(micros: u64, count: u64) -> Option<u64> {
    micros.checked_div(count).map(|mean| mean / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_decimal_texts() {
        let of = |part, whole| percent(Nanos::new(part), Nanos::new(whole));
        assert_eq!(of(5, 8).as_deref(), Some("62.5"));
        assert_eq!(of(1, 3).as_deref(), Some("33.33"));
        assert_eq!(of(-3, 2).as_deref(), Some("-150"));
        assert_eq!(of(0, 2).as_deref(), Some("0"));
        assert_eq!(of(2, 0), None);
        assert!(of(i64::MIN, 1).is_some());
    }

    #[test]
    fn means_are_whole_milliseconds() {
        assert_eq!(mean_millis(5_999, 3), Some(1));
        assert_eq!(mean_millis(0, 0), None);
    }
}
