//! `GET /v1/organizations/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Organization;
use crate::answer::Answer;
use crate::body::PathId;
use crate::caller::Caller;
use crate::shared::Shared;

/// An organization, for its members.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id")),
    responses((status = 200, description = "The organization", body = Organization))
)]
pub(crate) async fn organization(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
) -> Answer<Organization> {
    let found = super::of_member(&shared, &login, id).await?;
    Ok(Json(found.into()))
}
