//! Usage events as they are read to be verified: many rows in one text, because a value of its own for every column of
//! every row costs a driver more than everything else that is done with it.
//!
//! A page is rows with ASCII's record separator between them, a row these columns with its unit separator: what the
//! adapter knows the row by, transaction_id, payer_id, price_terms_id, budget_set_id, prompt_tokens, completion_tokens,
//! reported_cost, upstream_inference_cost or nothing, list_cost, cost_nanos, price_nanos, charged_nanos,
//! uncollected_nanos, charged_requests, loss_reason or nothing.

use airouter_billing::AccountId;
use uuid::Uuid;

use crate::error::StoreError;

/// Between the columns of a row: ASCII's unit separator.
const BETWEEN_COLUMNS: char = '\u{1f}';
/// Between rows: ASCII's record separator.
const BETWEEN_ROWS: char = '\u{1e}';

/// What of an event is needed to price and to book it again.
pub(super) struct EventRow<'a> {
    /// What the adapter knows the row by.
    pub(super) row: &'a str,
    pub(super) transaction_id: i64,
    pub(super) payer: AccountId,
    pub(super) price_terms_id: i64,
    pub(super) budget_set_id: i64,
    pub(super) prompt_tokens: i64,
    pub(super) completion_tokens: i64,
    pub(super) reported_cost: &'a str,
    pub(super) upstream_inference_cost: Option<&'a str>,
    pub(super) list_cost: &'a str,
    pub(super) cost_nanos: i64,
    pub(super) price_nanos: i64,
    pub(super) charged_nanos: i64,
    pub(super) uncollected_nanos: i64,
    pub(super) charged_requests: i64,
    pub(super) loss_reason: Option<&'a str>,
}

/// The rows of a page.
pub(super) fn rows(page: &str) -> impl Iterator<Item = Result<EventRow<'_>, StoreError>> {
    page.split(BETWEEN_ROWS)
        .map(|line| row(line, "request_logs"))
}

/// One row, of this table.
pub(super) fn row<'a>(line: &'a str, table: &'static str) -> Result<EventRow<'a>, StoreError> {
    parse(line).ok_or_else(|| {
        let row = line.split(BETWEEN_COLUMNS).next().unwrap_or_default();
        StoreError::Corrupt {
            table,
            column: "*",
            row: row.to_owned(),
        }
    })
}

fn parse(line: &str) -> Option<EventRow<'_>> {
    let mut columns = line.split(BETWEEN_COLUMNS);
    let columns = &mut columns;
    let row = EventRow {
        row: columns.next()?,
        transaction_id: integer(columns)?,
        payer: AccountId::new(Uuid::try_parse(columns.next()?).ok()?),
        price_terms_id: integer(columns)?,
        budget_set_id: integer(columns)?,
        prompt_tokens: integer(columns)?,
        completion_tokens: integer(columns)?,
        reported_cost: columns.next()?,
        upstream_inference_cost: optional(columns)?,
        list_cost: columns.next()?,
        cost_nanos: integer(columns)?,
        price_nanos: integer(columns)?,
        charged_nanos: integer(columns)?,
        uncollected_nanos: integer(columns)?,
        charged_requests: integer(columns)?,
        loss_reason: optional(columns)?,
    };
    columns.next().is_none().then_some(row)
}

fn integer<'a>(columns: &mut impl Iterator<Item = &'a str>) -> Option<i64> {
    columns.next()?.parse().ok()
}

fn optional<'a>(columns: &mut impl Iterator<Item = &'a str>) -> Option<Option<&'a str>> {
    let text = columns.next()?;
    Some((!text.is_empty()).then_some(text))
}
