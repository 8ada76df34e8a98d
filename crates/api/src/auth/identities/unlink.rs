//! `DELETE /v1/auth/identities/{id}`.

use std::sync::Arc;

use airouter_store::StoreError;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::audited::Actor;
use crate::body::PathId;
use crate::caller::{Caller, ClientAddress};
use crate::problem::Problem;
use crate::shared::Shared;

/// Unlink one of the caller's identities. The last way to log in stays.
#[utoipa::path(
    delete,
    path = "/v1/auth/identities/{id}",
    tag = "auth",
    params(("id" = crate::values::Id, Path, description = "The identity's id")),
    responses((status = 204, description = "It is unlinked"))
)]
pub(crate) async fn unlink_identity(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathId(id): PathId,
) -> Done {
    let mut audit = Actor::of_login(&login, address).entry(
        "identity.unlink",
        login.account.get(),
        shared.now(),
    );
    audit.before = Some(serde_json::json!({ "identity": id }).to_string());
    shared
        .store
        .unlink_identity(login.user, id, &audit)
        .await
        .map_err(|error| match error {
            StoreError::InUse { .. } => Problem::LastWayIn,
            error => error.into(),
        })?;
    Ok(StatusCode::NO_CONTENT)
}
