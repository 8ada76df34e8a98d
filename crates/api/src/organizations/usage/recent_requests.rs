//! `GET /v1/organizations/{id}/recent-requests`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::body::{Params, PathId};
use crate::caller::Caller;
use crate::client::recent_requests::{ClientRequest, RecentQuery, list};
use crate::page::Page;
use crate::problem::Problem;
use crate::shared::Shared;

/// What an organization paid for, the newest first. Requests that have not ended are not there yet.
/// Owners see what everybody used, members what they did themselves.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/recent-requests",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id"), RecentQuery),
    responses((status = 200, description = "A page of requests", content(
        (Page<ClientRequest> = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn organization_recent_requests(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    headers: HeaderMap,
    PathId(id): PathId,
    Params(query): Params<RecentQuery>,
) -> Result<Response, Problem> {
    let whose = super::spender(&shared, &login, id).await?;
    list(&shared, whose, &headers, query).await
}
