//! `GET /v1/client/usage`.

use std::sync::Arc;

use airouter_store::usage::{Lines, PayerPart, PayerQuery};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Spender, UsageLine, columns, key_of, model_of};
use crate::body::Params;
use crate::caller::Caller;
use crate::csv::{self, Format};
use crate::problem::Problem;
use crate::report_time::{Asked, ReportTime};
use crate::shared::Shared;
use crate::values::{Id, Time};

/// When, and of what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// The first day, or the first moment; without it, 30 days before the end.
    #[param(example = "2026-11-01")]
    pub(super) from: Option<String>,
    /// The last day, or the first moment after the report; without it, today is the last day.
    #[param(example = "2026-11-30")]
    pub(super) to: Option<String>,
    /// Whose days they are: a name of the IANA time zone database.
    #[param(default = "UTC", example = "Europe/Berlin")]
    pub(super) time_zone: Option<String>,
    /// Only by this key.
    #[param(value_type = Option<Id>)]
    pub(super) key_id: Option<Uuid>,
    /// Only of this model, by the name that the answers gave.
    #[param(max_length = 256)]
    pub(super) model: Option<String>,
    /// JSON or CSV; `Accept: text/csv` does the same.
    #[param(inline)]
    pub(super) format: Option<Format>,
}

impl UsageQuery {
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            time_zone: self.time_zone.as_deref(),
        }
    }
}

/// What was used in all of a time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageTotal {
    /// Its first moment.
    from: Time,
    /// The first moment after it.
    to: Time,
    /// Whose days it has.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// What was used.
    total: UsageLine,
}

/// What the caller's account has used, in sum.
#[utoipa::path(
    get,
    path = "/v1/client/usage",
    tag = "client",
    params(UsageQuery),
    responses((status = 200, description = "The sums", content(
        (UsageTotal = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn usage(
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
    let period = time.period();
    let asked = PayerQuery {
        payer: whose.payer,
        member: whose.member,
        periods: vec![period],
        key: key_of(shared, whose.payer, query.key_id).await?,
        model: model_of(query.model)?,
        by: PayerPart::Whole,
        lines: Lines::ALL,
    };
    let rows = shared.store.payer_usage(&asked).await?;
    let sums = rows.first().map(|row| row.sums).unwrap_or_default();
    let total = UsageLine::from(sums);
    if Format::of(query.format, headers) == Format::Csv {
        return csv::csv("usage", &columns(&[]), &[total], None);
    }
    let total = UsageTotal {
        from: Time(period.from.begins()),
        to: Time(period.to.begins()),
        time_zone: time.zone_name().to_owned(),
        total,
    };
    Ok(Json(total).into_response())
}
