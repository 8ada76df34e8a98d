//! `DELETE /v1/auth/api-keys/{id}`.

use std::sync::Arc;

use airouter_billing::ApiKeyId;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::body::PathId;
use crate::caller::Caller;
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
    PathId(id): PathId,
) -> Done {
    shared
        .store
        .revoke_key_of(login.account, ApiKeyId::new(id), shared.now())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
