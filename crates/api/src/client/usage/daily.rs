//! `GET /v1/client/usage/daily`.

use std::sync::Arc;

use airouter_store::usage::{Lines, PayerPart, PayerQuery, UsageSums};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::total::UsageQuery;
use super::{Spender, UsageLine, UsageReport, columns, key_of, model_of};
use crate::body::Params;
use crate::caller::Caller;
use crate::csv::{self, Format};
use crate::problem::Problem;
use crate::report_time::ReportTime;
use crate::shared::Shared;

/// What the caller's account has used, day by day; days on which nothing was used too.
#[utoipa::path(
    get,
    path = "/v1/client/usage/daily",
    tag = "client",
    params(UsageQuery),
    responses((status = 200, description = "A line a day, at most 366", content(
        (UsageReport = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn daily_usage(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    headers: HeaderMap,
    Params(query): Params<UsageQuery>,
) -> Result<Response, Problem> {
    report(&shared, Spender::own(login.account), &headers, query).await
}

/// The report on whoever's use it is about.
pub(crate) async fn report(
    shared: &Shared,
    whose: Spender,
    headers: &HeaderMap,
    query: UsageQuery,
) -> Result<Response, Problem> {
    let time = ReportTime::of(query.asked(), shared.now())?;
    let days = time.days();
    let asked = PayerQuery {
        payer: whose.payer,
        member: whose.member,
        periods: days.iter().map(|day| day.period).collect(),
        key: key_of(shared, whose.payer, query.key_id).await?,
        model: model_of(query.model)?,
        by: PayerPart::Whole,
        lines: Lines::ALL,
    };
    let mut sums = vec![UsageSums::default(); days.len()];
    for row in shared.store.payer_usage(&asked).await? {
        if let Some(day) = sums.get_mut(row.period) {
            *day = row.sums;
        }
    }
    let lines: Vec<UsageLine> = days
        .into_iter()
        .zip(sums)
        .map(|(day, sums)| UsageLine::of_day(day.date, sums))
        .collect();
    if Format::of(query.format, headers) == Format::Csv {
        return csv::csv("usage-daily", &columns(&["date"]), &lines, None);
    }
    Ok(Json(UsageReport::new(&time, lines, None)).into_response())
}
