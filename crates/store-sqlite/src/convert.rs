//! Between the columns of rows and the types of the domain.

use std::fmt::Display;
use std::num::{NonZeroU32, NonZeroU64};

use airouter_billing::BudgetId;
use airouter_store::StoreError;
use airouter_store::clients::RequestLimits;
use rust_decimal::Decimal;
use uuid::Uuid;

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

    pub(crate) fn uuid(self, bytes: &[u8]) -> Result<Uuid, StoreError> {
        Uuid::from_slice(bytes).map_err(|_| self.corrupt("?"))
    }

    /// A decimal that was written by us: plain digits, never rounded.
    pub(crate) fn decimal(self, text: &str, row: impl Display) -> Result<Decimal, StoreError> {
        Decimal::from_str_exact(text).map_err(|_| self.corrupt(row))
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

/// A UUID as SQLite's `unhex` reads it.
pub(crate) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// Bytes as SQLite's `unhex` reads them.
pub(crate) fn hex_bytes(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// A budget as two columns: `balance` or `cap`, and whose.
pub(crate) const fn budget_columns(id: BudgetId) -> (&'static str, Uuid) {
    match id {
        BudgetId::Balance(account) => ("balance", account.get()),
        BudgetId::Cap(cap) => ("cap", cap),
    }
}
