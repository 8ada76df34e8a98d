//! `DELETE /v1/auth/api-keys/{id}`.

use std::sync::Arc;

use airouter_store::key_admin::KeyHolder;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::audited::Actor;
use crate::body::PathId;
use crate::caller::{Caller, ClientAddress};
use crate::keys::change;
use crate::shared::Shared;

/// Revoke a key: it is refused everywhere within a second. Once revoked it stays so.
#[utoipa::path(
    delete,
    path = "/v1/auth/api-keys/{id}",
    tag = "auth",
    params(("id" = crate::values::Id, Path, description = "The key's id")),
    responses((status = 204, description = "The key is revoked"))
)]
pub(crate) async fn revoke_api_key(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathId(id): PathId,
) -> Done {
    let actor = Actor::of_login(&login, address);
    change::revoke(&shared, &actor, KeyHolder::Owner(login.account), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
