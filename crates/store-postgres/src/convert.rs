//! Between the columns of rows and the types of the domain.

use std::borrow::Cow;
use std::fmt::Display;
use std::num::{NonZeroU32, NonZeroU64};

use airouter_billing::Timestamp;
use airouter_store::StoreError;
use airouter_store::clients::RequestLimits;
use rust_decimal::Decimal;
use time::OffsetDateTime;

/// Where a value was read, for the error that says it can't be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
}

impl Column {
    pub(crate) const fn new(table: &'static str, column: &'static str) -> Self {
        Self { table, column }
    }

    /// The error that the value in `row` can't be read.
    pub(crate) fn corrupt(self, row: impl Display) -> StoreError {
        StoreError::Corrupt {
            table: self.table,
            column: self.column,
            row: row.to_string(),
        }
    }

    /// A numeric as text: plain digits, never rounded.
    pub(crate) fn decimal(self, text: &str, row: impl Display) -> Result<Decimal, StoreError> {
        Decimal::from_str_exact(text).map_err(|_| self.corrupt(row))
    }
}

/// A time as the database keeps it. No time of ours is beyond the year 9999; one that is becomes the end of that.
pub(crate) fn timestamptz(at: Timestamp) -> OffsetDateTime {
    at.to_utc()
        .unwrap_or(time::macros::datetime!(9999-12-31 23:59:59 UTC))
}

/// Text from outside, as the database can keep it: it has no NUL.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A count as the database keeps it: 64 bits with a sign. No count of ours is larger; one that is stays the largest.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count as it was stored.
pub(crate) fn counted(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Limits as columns: requests a minute, tokens a minute, concurrent requests.
pub(crate) struct LimitColumns {
    pub(crate) requests_per_minute: Option<i64>,
    pub(crate) tokens_per_minute: Option<i64>,
    pub(crate) concurrent_requests: Option<i64>,
}

impl From<RequestLimits> for LimitColumns {
    fn from(limits: RequestLimits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute.map(|limit| limit.get().into()),
            tokens_per_minute: limits.tokens_per_minute.map(|limit| count(limit.get())),
            concurrent_requests: limits.concurrent_requests.map(|limit| limit.get().into()),
        }
    }
}

impl From<LimitColumns> for RequestLimits {
    fn from(columns: LimitColumns) -> Self {
        let small = |value: Option<i64>| {
            value
                .and_then(|value| u32::try_from(value).ok())
                .and_then(NonZeroU32::new)
        };
        Self {
            requests_per_minute: small(columns.requests_per_minute),
            tokens_per_minute: columns
                .tokens_per_minute
                .and_then(|value| u64::try_from(value).ok())
                .and_then(NonZeroU64::new),
            concurrent_requests: small(columns.concurrent_requests),
        }
    }
}
