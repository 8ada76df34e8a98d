//! `GET /v1/auth/api-keys/{id}`.

use std::sync::Arc;

use airouter_store::key_admin::KeyHolder;
use axum::extract::State;

use crate::body::PathId;
use crate::caller::Caller;
use crate::keys::{self, ApiKey, TaggedKey};
use crate::shared::Shared;

/// One of the caller's keys. Its `ETag` is what `If-Match` of a change must be.
#[utoipa::path(
    get,
    path = "/v1/auth/api-keys/{id}",
    tag = "auth",
    params(("id" = crate::values::Id, Path, description = "The key's id")),
    responses((status = 200, description = "The key", body = ApiKey))
)]
pub(crate) async fn api_key(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
) -> TaggedKey {
    let now = shared.now();
    let found = keys::find(&shared, KeyHolder::Owner(login.account), id, now).await?;
    keys::tagged(found, now)
}
