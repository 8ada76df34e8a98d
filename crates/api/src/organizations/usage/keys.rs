//! `GET /v1/organizations/{id}/keys/usage`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::body::{Params, PathId};
use crate::caller::Caller;
use crate::client::usage::UsageReport;
use crate::client::usage::keys::{KeysQuery, report};
use crate::problem::Problem;
use crate::shared::Shared;

/// What was used of an organization, by key; what cost most comes first.
/// Owners see what everybody used, members what they did themselves.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/keys/usage",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id"), KeysQuery),
    responses((status = 200, description = "A line a key that was used", content(
        (UsageReport = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn organization_keys_usage(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    headers: HeaderMap,
    PathId(id): PathId,
    Params(query): Params<KeysQuery>,
) -> Result<Response, Problem> {
    let whose = super::spender(&shared, &login, id).await?;
    report(&shared, whose, &headers, query).await
}
