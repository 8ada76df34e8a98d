//! `GET /v1/organizations/{id}/usage`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::body::{Params, PathId};
use crate::caller::Caller;
use crate::client::usage::total::{UsageQuery, UsageTotal, report};
use crate::problem::Problem;
use crate::shared::Shared;

/// What was used of an organization, in sum.
/// Owners see what everybody used, members what they did themselves.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/usage",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id"), UsageQuery),
    responses((status = 200, description = "The sums", content(
        (UsageTotal = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn organization_usage(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    headers: HeaderMap,
    PathId(id): PathId,
    Params(query): Params<UsageQuery>,
) -> Result<Response, Problem> {
    let whose = super::spender(&shared, &login, id).await?;
    report(&shared, whose, &headers, query).await
}
