//! `GET /v1/admin/clients/{id}/api-keys/{key_id}`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_store::key_admin::KeyHolder;
use axum::extract::State;
use uuid::Uuid;

use crate::body::PathPair;
use crate::keys::{self, ApiKey, TaggedKey};
use crate::shared::Shared;

/// One key of an account. Its `ETag` is what `If-Match` of a change must be.
#[utoipa::path(
    get,
    path = "/v1/admin/clients/{id}/api-keys/{key_id}",
    tag = "admin",
    params(
        ("id" = crate::values::Id, Path, description = "The account's id"),
        ("key_id" = crate::values::Id, Path, description = "The key's id")
    ),
    responses((status = 200, description = "The key", body = ApiKey))
)]
pub(crate) async fn client_api_key(
    State(shared): State<Arc<Shared>>,
    PathPair(account, key): PathPair<Uuid>,
) -> TaggedKey {
    let now = shared.now();
    let holder = KeyHolder::Either(AccountId::new(account));
    let found = keys::find(&shared, holder, key, now).await?;
    keys::tagged(found, now)
}
