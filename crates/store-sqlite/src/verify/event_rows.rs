//! Usage events as they are read to be verified: many rows in one text, because a value of its own for every column of
//! every row costs the driver more than everything else that is done with it.

use airouter_billing::AccountId;
use airouter_store::StoreError;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::Column;

/// Between the columns of a row: ASCII's unit separator.
const BETWEEN_COLUMNS: char = '\u{1f}';
/// Between rows: ASCII's record separator.
const BETWEEN_ROWS: char = '\u{1e}';

/// What of an event is needed to price and to book it again.
pub(super) struct EventRow<'a> {
    pub(super) seq: i64,
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

/// All events in the order in which they were written, 64 rows a text.
pub(super) fn pages(
    connection: &mut SqliteConnection,
) -> BoxStream<'_, Result<String, StoreError>> {
    let pages = sqlx::query_scalar!(
        r#"WITH RECURSIVE pages (first) AS (
            SELECT min(seq) FROM request_logs
            UNION ALL
            SELECT (SELECT min(seq) FROM request_logs WHERE seq >= pages.first + 64)
            FROM pages WHERE pages.first IS NOT NULL
        )
        SELECT (
            SELECT group_concat(concat_ws(char(31),
                seq, transaction_id, hex(payer_id), price_terms_id, budget_set_id, prompt_tokens, completion_tokens,
                reported_cost, coalesce(upstream_inference_cost, ''), list_cost, cost_nanos, price_nanos,
                charged_nanos, uncollected_nanos, charged_requests, coalesce(loss_reason, '')), char(30))
            FROM request_logs WHERE seq >= pages.first AND seq < pages.first + 64
        ) AS "page!: String"
        FROM pages WHERE pages.first IS NOT NULL"#
    );
    pages
        .fetch(connection)
        .map(|page| page.map_err(failed))
        .boxed()
}

/// The rows of a page.
pub(super) fn rows(page: &str) -> impl Iterator<Item = Result<EventRow<'_>, StoreError>> {
    page.split(BETWEEN_ROWS).map(|line| {
        parse(line).ok_or_else(|| {
            let seq = line.split(BETWEEN_COLUMNS).next().unwrap_or_default();
            Column::new("request_logs", "*").corrupt(seq)
        })
    })
}

fn parse(line: &str) -> Option<EventRow<'_>> {
    let mut columns = line.split(BETWEEN_COLUMNS);
    let columns = &mut columns;
    let row = EventRow {
        seq: integer(columns)?,
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
