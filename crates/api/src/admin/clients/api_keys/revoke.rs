//! `DELETE /v1/admin/clients/{id}/api-keys/{key_id}`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_store::key_admin::KeyHolder;
use axum::extract::State;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Done;
use crate::audited::Actor;
use crate::body::PathPair;
use crate::caller::{ClientAddress, Operator};
use crate::keys::change;
use crate::shared::Shared;

/// Revoke a key of an account: it is refused everywhere within a second. Once revoked it stays so.
#[utoipa::path(
    delete,
    path = "/v1/admin/clients/{id}/api-keys/{key_id}",
    tag = "admin",
    params(
        ("id" = crate::values::Id, Path, description = "The account's id"),
        ("key_id" = crate::values::Id, Path, description = "The key's id")
    ),
    responses((status = 204, description = "The key is revoked"))
)]
pub(crate) async fn revoke_client_api_key(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathPair(account, key): PathPair<Uuid>,
) -> Done {
    let actor = Actor::of_operator(&operator, address);
    let holder = KeyHolder::Either(AccountId::new(account));
    change::revoke(&shared, &actor, holder, key).await?;
    Ok(StatusCode::NO_CONTENT)
}
