//! `DELETE /v1/organizations/{id}/invitations/{invitation_id}`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Done;
use crate::audited::Actor;
use crate::body::PathPair;
use crate::caller::{Caller, ClientAddress};
use crate::organizations::of_owner;
use crate::shared::Shared;

/// Revoke an invitation that nobody has accepted. Only owners may.
#[utoipa::path(
    delete,
    path = "/v1/organizations/{id}/invitations/{invitation_id}",
    tag = "organizations",
    params(
        ("id" = crate::values::Id, Path, description = "The organization's id"),
        ("invitation_id" = crate::values::Id, Path, description = "The invitation's id")
    ),
    responses((status = 204, description = "The invitation is revoked"))
)]
pub(crate) async fn revoke_member_invitation(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathPair(id, invitation): PathPair<Uuid>,
) -> Done {
    let organization = of_owner(&shared, &login, id).await?;
    let actor = Actor::of_login(&login, address);
    let entry = actor.entry("organization.invitation.revoke", invitation, shared.now());
    shared
        .store
        .revoke_member_invitation(organization, invitation, &entry)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
