//! `GET /v1/organizations/{id}/balance`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::answer::Answer;
use crate::body::PathId;
use crate::caller::Caller;
use crate::client::balance::Balance;
use crate::shared::Shared;

/// What an organization has. Only its owners see it.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/balance",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id")),
    responses((status = 200, description = "The balance", body = Balance))
)]
pub(crate) async fn organization_balance(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
) -> Answer<Balance> {
    let organization = super::of_owner(&shared, &login, id).await?;
    let balance = shared.store.balance(organization).await?;
    Ok(Json(balance.into()))
}
