//! `PATCH /v1/admin/clients/{id}/api-keys/{key_id}`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_store::key_admin::KeyHolder;
use axum::extract::State;
use http::HeaderMap;
use uuid::Uuid;

use crate::audited::Actor;
use crate::body::{JsonBody, PathPair};
use crate::caller::{ClientAddress, Operator};
use crate::keys::change::{self, ApiKeyChange};
use crate::keys::{ApiKey, TaggedKey};
use crate::shared::Shared;

/// Rename a key of an account or change its limits; it acts everywhere within a second. `If-Match` is the `ETag` of what
/// the caller has seen.
#[utoipa::path(
    patch,
    path = "/v1/admin/clients/{id}/api-keys/{key_id}",
    tag = "admin",
    params(
        ("id" = crate::values::Id, Path, description = "The account's id"),
        ("key_id" = crate::values::Id, Path, description = "The key's id"),
        ("If-Match" = String, Header, description = "The `ETag` of the key as the caller has seen it")
    ),
    request_body = ApiKeyChange,
    responses((status = 200, description = "The key as it is now", body = ApiKey))
)]
pub(crate) async fn change_client_api_key(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathPair(account, key): PathPair<Uuid>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ApiKeyChange>,
) -> TaggedKey {
    let actor = Actor::of_operator(&operator, address);
    let key = (KeyHolder::Either(AccountId::new(account)), key);
    change::change(&shared, &actor, key, &headers, request).await
}
