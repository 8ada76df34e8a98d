//! `DELETE /v1/admin/invitations/{id}`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::audited;
use crate::body::PathId;
use crate::caller::{ClientAddress, Operator};
use crate::shared::Shared;

/// Revoke an invitation that nobody has used.
#[utoipa::path(
    delete,
    path = "/v1/admin/invitations/{id}",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The invitation's id")),
    responses((status = 204, description = "The invitation is revoked"))
)]
pub(crate) async fn revoke_invitation(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
) -> Done {
    let entry = audited::entry(&operator, address, "invitation.revoke", id, shared.now());
    shared.store.revoke_invitation(id, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
