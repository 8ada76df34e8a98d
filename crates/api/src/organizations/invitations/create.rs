//! `POST /v1/organizations/{id}/invitations`.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use airouter_store::organizations::{
    MemberInvitationRecord, NewMemberInvitation, OrganizationChanged,
};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::MemberInvitation;
use crate::answer::{Created, created};
use crate::audited::Actor;
use crate::body::{JsonBody, PathId};
use crate::caller::{Caller, ClientAddress};
use crate::names;
use crate::organizations::{Role, of_owner};
use crate::problem::Problem;
use crate::shared::Shared;

const HOLDS_FOR_SECONDS: i64 = 7 * 24 * 3600;

/// Somebody to be invited, with a login or without one yet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberInvitationRequest {
    /// The only e-mail address whose login may accept it.
    #[schema(example = "ann@example.com", max_length = 254)]
    email: String,
    /// What the new member may do.
    role: Role,
}

/// An invitation that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedMemberInvitation {
    /// What the invited one sends to `POST /v1/organizations/invitations/accept`. It is shown this once.
    #[schema(example = "air-org-…")]
    code: String,
    #[serde(flatten)]
    shown: MemberInvitation,
}

/// Invite somebody. The invitation is good for seven days and for one member. Only owners may.
#[utoipa::path(
    post,
    path = "/v1/organizations/{id}/invitations",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id")),
    request_body = MemberInvitationRequest,
    responses((status = 201, description = "The invitation, its code shown this once", body = CreatedMemberInvitation))
)]
pub(crate) async fn invite_member(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathId(id): PathId,
    JsonBody(request): JsonBody<MemberInvitationRequest>,
) -> Created<CreatedMemberInvitation> {
    let organization = of_owner(&shared, &login, id).await?;
    let email = names::email(&request.email).ok_or(Problem::Invalid {
        field: "email",
        expected: "an e-mail address",
    })?;
    let code = OpaqueToken::generate(OpaqueKind::Membership).map_err(|error| {
        tracing::error!(%error, "no invitation could be made");
        Problem::Internal
    })?;
    let now = shared.now();
    let new = NewMemberInvitation {
        id: Uuid::now_v7(),
        organization,
        code: code.hash(),
        email,
        role: request.role.into(),
        expires_at: now.plus_seconds(HOLDS_FOR_SECONDS),
    };
    let actor = Actor::of_login(&login, address);
    let mut entry = actor.entry("organization.invite", id, now);
    let after =
        serde_json::json!({ "invitation_id": new.id, "email": new.email, "role": request.role });
    entry.after = Some(after.to_string());
    if shared.store.invite_member(&new, &entry).await? == OrganizationChanged::TooMany {
        return Err(Problem::TooMany("open invitations"));
    }
    created(CreatedMemberInvitation {
        code: code.expose().to_owned(),
        shown: MemberInvitation::from(MemberInvitationRecord {
            id: new.id,
            email: new.email,
            role: new.role,
            created_at: now,
            expires_at: new.expires_at,
        }),
    })
}
