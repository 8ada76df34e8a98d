//! Usage events as rows of `request_logs`, or of `request_corrections`. A row has many columns, and to take them out of JSON would cost more than to
//! store them: rows go in as parameters, several rows a statement.

use std::sync::{Arc, LazyLock};

use airouter_billing::batch::SettledEvent;
use airouter_billing::event::LossReason;
use airouter_billing::usage::Inference;
use airouter_billing::{Outcome, UsageEvent};
use airouter_store::StoreError;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use crate::connection::failed;
use crate::convert::count;
use crate::shared_rows::{SharedRows, SharedRowsOf};

/// In the order in which [`add_row`] adds them.
const COLUMNS: [&str; 32] = [
    "transaction_id",
    "id",
    "api_key_id",
    "payer_id",
    "price_terms_id",
    "budget_set_id",
    "generation_id",
    "model",
    "provider",
    "delivery",
    "ending",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "image_output_tokens",
    "reported_cost",
    "cost_source",
    "upstream_inference_cost",
    "list_cost",
    "cost_nanos",
    "price_nanos",
    "charged_nanos",
    "uncollected_nanos",
    "charged_requests",
    "loss_reason",
    "hold_nanos",
    "admitted_at",
    "finished_at",
    "first_byte_micros",
];

/// How many rows a statement inserts: a batch is cut into the largest of these that fit.
const ROWS: [usize; 4] = [64, 16, 4, 1];

/// Where rows go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    /// Usage events.
    RequestLogs,
    /// What stands in place of a loss.
    RequestCorrections,
}

/// Of each table one statement for each of [`ROWS`]. Nothing but constants is in them.
static STATEMENTS: LazyLock<[Arc<str>; 4]> =
    LazyLock::new(|| ROWS.map(|rows| statement("request_logs", rows)));
static CORRECTIONS: LazyLock<[Arc<str>; 4]> =
    LazyLock::new(|| ROWS.map(|rows| statement("request_corrections", rows)));

fn statement(table: &str, rows: usize) -> Arc<str> {
    let row = format!("({})", ["?"; COLUMNS.len()].join(", "));
    format!(
        "INSERT INTO {table} ({}) VALUES {}",
        COLUMNS.join(", "),
        vec![row; rows].join(", ")
    )
    .into()
}

/// Inserts the rows of settled events, each with its shared rows.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    table: Table,
    transaction: i64,
    events: &[SettledEvent<'_>],
    shared: &SharedRowsOf,
) -> Result<(), StoreError> {
    let statements = match table {
        Table::RequestLogs => &STATEMENTS,
        Table::RequestCorrections => &CORRECTIONS,
    };
    let mut rest: Vec<_> = events.iter().collect();
    rest.reverse();
    for (size, statement) in ROWS.into_iter().zip(statements.iter()) {
        while rest.len() >= size {
            let mut arguments = SqliteArguments::default();
            arguments.reserve(size * COLUMNS.len(), 0);
            for settled in rest.drain(rest.len() - size..).rev() {
                let shared = shared.of(settled.event)?;
                add_row(&mut arguments, transaction, settled, shared)
                    .map_err(StoreError::Refused)?;
            }
            let statement = AssertSqlSafe(Arc::clone(statement));
            sqlx::query_with(statement, arguments)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
        }
    }
    Ok(())
}

fn add_row(
    row: &mut SqliteArguments,
    transaction: i64,
    settled: &SettledEvent<'_>,
    shared: SharedRows,
) -> Result<(), BoxDynError> {
    let event: &UsageEvent = settled.event;
    let (request, served, tokens) = (&event.request, &event.served, &event.tokens);
    let covered = settled.covered;
    let loss = match event.outcome {
        Outcome::Charged => None,
        Outcome::Lost(reason) => Some(reason),
    };
    row.add(transaction)?;
    row.add(request.id.get())?;
    row.add(request.api_key.get())?;
    row.add(request.payer.get())?;
    row.add(shared.price_terms)?;
    row.add(shared.budget_set)?;
    row.add(served.generation_id.as_deref())?;
    row.add(served.model.as_deref())?;
    row.add(served.provider.as_deref())?;
    row.add(request.delivery.name())?;
    row.add(event.ending.name())?;
    for tokens in [
        tokens.prompt,
        tokens.completion,
        tokens.cached,
        tokens.cache_write,
        tokens.audio,
        tokens.reasoning,
        tokens.image_output,
    ] {
        row.add(count(tokens))?;
    }
    row.add(event.reported_cost.to_string())?;
    row.add(event.source.name())?;
    row.add(match event.inference {
        Inference::Credits => None,
        Inference::OwnProviderKey { upstream_cost } => Some(upstream_cost.to_string()),
    })?;
    row.add(event.list_cost.to_string())?;
    row.add(event.cost.get())?;
    row.add(covered.charged.saturating_add(covered.uncollected).get())?;
    row.add(covered.charged.get())?;
    row.add(covered.uncollected.get())?;
    row.add(settled.requests)?;
    row.add(loss.map(LossReason::name))?;
    row.add(request.hold.get())?;
    row.add(request.admitted_at.as_micros())?;
    row.add(event.finished_at.as_micros())?;
    row.add(event.first_byte_micros.map(count))
}
