//! `PATCH /v1/auth/api-keys/{id}`.

use std::sync::Arc;

use airouter_store::key_admin::KeyHolder;
use axum::extract::State;
use http::HeaderMap;

use crate::audited::Actor;
use crate::body::{JsonBody, PathId};
use crate::caller::{Caller, ClientAddress};
use crate::keys::change::{self, ApiKeyChange};
use crate::keys::{ApiKey, TaggedKey};
use crate::shared::Shared;

/// Rename a key or change its limits; it acts everywhere within a second. `If-Match` is the `ETag` of what the caller has
/// seen.
#[utoipa::path(
    patch,
    path = "/v1/auth/api-keys/{id}",
    tag = "auth",
    params(
        ("id" = crate::values::Id, Path, description = "The key's id"),
        ("If-Match" = String, Header, description = "The `ETag` of the key as the caller has seen it")
    ),
    request_body = ApiKeyChange,
    responses((status = 200, description = "The key as it is now", body = ApiKey))
)]
pub(crate) async fn change_api_key(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathId(id): PathId,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ApiKeyChange>,
) -> TaggedKey {
    let actor = Actor::of_login(&login, address);
    let key = (KeyHolder::Owner(login.account), id);
    change::change(&shared, &actor, key, &headers, request).await
}
