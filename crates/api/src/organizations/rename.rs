//! `PATCH /v1/organizations/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{Organization, OrganizationName};
use crate::answer::Answer;
use crate::audited::Actor;
use crate::body::{JsonBody, PathId};
use crate::caller::{Caller, ClientAddress};
use crate::shared::Shared;

/// Give an organization another name. Only its owners may.
#[utoipa::path(
    patch,
    path = "/v1/organizations/{id}",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id")),
    request_body = OrganizationName,
    responses((status = 200, description = "The organization as it is now", body = Organization))
)]
pub(crate) async fn rename_organization(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathId(id): PathId,
    JsonBody(request): JsonBody<OrganizationName>,
) -> Answer<Organization> {
    let organization = super::of_owner(&shared, &login, id).await?;
    let name = request.checked()?;
    let actor = Actor::of_login(&login, address);
    let entry = actor.entry("organization.rename", id, shared.now());
    shared
        .store
        .rename_organization(organization, &name, &entry)
        .await?;
    let found = super::of_member(&shared, &login, id).await?;
    Ok(Json(found.into()))
}
