//! `DELETE /v1/organizations/{id}/api-keys/{key_id}`.

use std::sync::Arc;

use airouter_store::key_admin::KeyHolder;
use axum::extract::State;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Done;
use crate::audited::Actor;
use crate::body::PathPair;
use crate::caller::{Caller, ClientAddress};
use crate::keys::change;
use crate::organizations::of_owner;
use crate::shared::Shared;

/// Revoke a key that spends from an organization. Only its owners may, and whom the key belongs to.
#[utoipa::path(
    delete,
    path = "/v1/organizations/{id}/api-keys/{key_id}",
    tag = "organizations",
    params(
        ("id" = crate::values::Id, Path, description = "The organization's id"),
        ("key_id" = crate::values::Id, Path, description = "The key's id")
    ),
    responses((status = 204, description = "The key is revoked"))
)]
pub(crate) async fn revoke_organization_api_key(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathPair(id, key): PathPair<Uuid>,
) -> Done {
    let organization = of_owner(&shared, &login, id).await?;
    let actor = Actor::of_login(&login, address);
    let holder = KeyHolder::Payer(organization);
    change::revoke(&shared, &actor, holder, key).await?;
    Ok(StatusCode::NO_CONTENT)
}
