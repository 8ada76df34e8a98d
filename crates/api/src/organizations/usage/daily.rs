//! `GET /v1/organizations/{id}/usage/daily`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::body::{Params, PathId};
use crate::caller::Caller;
use crate::client::usage::UsageReport;
use crate::client::usage::daily::report;
use crate::client::usage::total::UsageQuery;
use crate::problem::Problem;
use crate::shared::Shared;

/// What was used of an organization, day by day; days on which nothing was used too.
/// Owners see what everybody used, members what they did themselves.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/usage/daily",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id"), UsageQuery),
    responses((status = 200, description = "A line a day, at most 366", content(
        (UsageReport = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn organization_daily_usage(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    headers: HeaderMap,
    PathId(id): PathId,
    Params(query): Params<UsageQuery>,
) -> Result<Response, Problem> {
    let whose = super::spender(&shared, &login, id).await?;
    report(&shared, whose, &headers, query).await
}
