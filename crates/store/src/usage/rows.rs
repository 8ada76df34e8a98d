//! A line of a report as databases sum it up.

use airouter_billing::{Nanos, TokenCounts};

use super::{LossSums, UsageRow, UsageSums};

/// A line as it comes from the database.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "the columns are the members of UsageRow and its sums"
)]
pub struct UsageColumns {
    pub period: i64,
    pub about: String,
    pub name: Option<String>,
    pub requests: i64,
    pub failed_attempts: i64,
    pub errors: i64,
    pub cancelled: i64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cached_tokens: i64,
    pub cache_write_tokens: i64,
    pub audio_tokens: i64,
    pub reasoning_tokens: i64,
    pub image_output_tokens: i64,
    pub list_cost_nanos: i64,
    pub cost_nanos: i64,
    pub price_nanos: i64,
    pub charged_nanos: i64,
    pub crash_nanos: i64,
    pub uncollected_nanos: i64,
    pub failed_attempt_nanos: i64,
    pub unknown_nanos: i64,
    pub first_bytes: i64,
    pub first_byte_micros: i64,
    pub duration_micros: i64,
}

/// A count. None is below zero once all corrections are in.
fn counted(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl From<UsageColumns> for UsageRow {
    fn from(columns: UsageColumns) -> Self {
        Self {
            period: usize::try_from(columns.period).unwrap_or(usize::MAX),
            sums: sums(&columns),
            about: columns.about,
            name: columns.name,
        }
    }
}

fn sums(columns: &UsageColumns) -> UsageSums {
    UsageSums {
        requests: counted(columns.requests),
        failed_attempts: counted(columns.failed_attempts),
        errors: counted(columns.errors),
        cancelled: counted(columns.cancelled),
        tokens: TokenCounts {
            prompt: counted(columns.prompt_tokens),
            completion: counted(columns.completion_tokens),
            cached: counted(columns.cached_tokens),
            cache_write: counted(columns.cache_write_tokens),
            audio: counted(columns.audio_tokens),
            reasoning: counted(columns.reasoning_tokens),
            image_output: counted(columns.image_output_tokens),
        },
        list_cost: Nanos::new(columns.list_cost_nanos),
        cost: Nanos::new(columns.cost_nanos),
        price: Nanos::new(columns.price_nanos),
        charged: Nanos::new(columns.charged_nanos),
        losses: LossSums {
            crash: Nanos::new(columns.crash_nanos),
            uncollected: Nanos::new(columns.uncollected_nanos),
            failed_attempt: Nanos::new(columns.failed_attempt_nanos),
            unknown: Nanos::new(columns.unknown_nanos),
        },
        first_bytes: counted(columns.first_bytes),
        first_byte_micros: counted(columns.first_byte_micros),
        duration_micros: counted(columns.duration_micros),
    }
}
