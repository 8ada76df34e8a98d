//! `GET /v1/client/models/usage`.

use std::sync::Arc;

use airouter_store::usage::{PayerPart, PayerQuery};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Spender, UsageLine, UsageReport, columns, key_of};
use crate::body::Params;
use crate::caller::Caller;
use crate::csv::{self, Format};
use crate::page::NumberedPage;
use crate::problem::Problem;
use crate::report_time::{Asked, ReportTime};
use crate::shared::Shared;
use crate::values::Id;

/// When, and of what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ModelsQuery {
    /// The first day, or the first moment; without it, 30 days before the end.
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// The last day, or the first moment after the report; without it, today is the last day.
    #[param(example = "2026-11-30")]
    to: Option<String>,
    /// Whose days they are: a name of the IANA time zone database.
    #[param(default = "UTC", example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Only by this key.
    #[param(value_type = Option<Id>)]
    key_id: Option<Uuid>,
    /// JSON or CSV; `Accept: text/csv` does the same.
    #[param(inline)]
    format: Option<Format>,
    /// `next_cursor` of the page before; without it the list begins.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// What the caller's account has used, by model; what cost most comes first.
#[utoipa::path(
    get,
    path = "/v1/client/models/usage",
    tag = "client",
    params(ModelsQuery),
    responses((status = 200, description = "A line a model that was used", content(
        (UsageReport = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn models_usage(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    headers: HeaderMap,
    Params(query): Params<ModelsQuery>,
) -> Result<Response, Problem> {
    report(&shared, Spender::own(login.account), &headers, query).await
}

/// The report on whoever's use it is about.
pub(crate) async fn report(
    shared: &Shared,
    whose: Spender,
    headers: &HeaderMap,
    query: ModelsQuery,
) -> Result<Response, Problem> {
    let page = NumberedPage::of(query.cursor.as_deref(), query.limit)?;
    let asked = Asked {
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        time_zone: query.time_zone.as_deref(),
    };
    let time = ReportTime::of(asked, shared.now())?;
    let mut rows = shared
        .store
        .payer_usage(&PayerQuery {
            payer: whose.payer,
            member: whose.member,
            periods: vec![time.period()],
            key: key_of(shared, whose.payer, query.key_id).await?,
            model: None,
            by: PayerPart::Model,
            lines: page.lines(),
        })
        .await?;
    let next_cursor = page.cut(&mut rows);
    let lines: Vec<UsageLine> = rows.into_iter().map(UsageLine::of_model).collect();
    if Format::of(query.format, headers) == Format::Csv {
        let columns = columns(&["model"]);
        return csv::csv("models-usage", &columns, &lines, next_cursor.as_deref());
    }
    Ok(Json(UsageReport::new(&time, lines, next_cursor)).into_response())
}
