//! `DELETE /v1/organizations/{id}/members/{member_id}`.

use std::sync::Arc;

use airouter_store::clients::MemberRole;
use airouter_store::organizations::OrganizationChanged;
use axum::extract::State;
use http::StatusCode;
use uuid::Uuid;

use super::find;
use crate::answer::Done;
use crate::audited::Actor;
use crate::body::PathPair;
use crate::caller::{Caller, ClientAddress};
use crate::organizations::of_member;
use crate::problem::Problem;
use crate::shared::Shared;

/// Remove a member, or leave: the keys with which that one spent from the organization are revoked. Owners remove
/// everybody, others only themselves; the last owner stays.
#[utoipa::path(
    delete,
    path = "/v1/organizations/{id}/members/{member_id}",
    tag = "organizations",
    params(
        ("id" = crate::values::Id, Path, description = "The organization's id"),
        ("member_id" = crate::values::Id, Path, description = "The membership's id")
    ),
    responses((status = 204, description = "The membership has ended"))
)]
pub(crate) async fn remove_member(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathPair(id, member): PathPair<Uuid>,
) -> Done {
    let caller = of_member(&shared, &login, id).await?;
    let found = find(&shared, caller.account, member).await;
    if caller.role == MemberRole::Member
        && !found
            .as_ref()
            .is_ok_and(|found| found.person == login.account)
    {
        return Err(Problem::OwnersOnly);
    }
    let found = found?;
    let actor = Actor::of_login(&login, address);
    let mut audit = actor.entry("organization.member.remove", member, shared.now());
    let before = serde_json::json!({ "organization_id": id, "account_id": found.person });
    audit.before = Some(before.to_string());
    let removed = shared.store.remove_member(caller.account, member, &audit);
    match removed.await? {
        OrganizationChanged::LastOwner => Err(Problem::LastOwner),
        OrganizationChanged::Yes
        | OrganizationChanged::Conflict
        | OrganizationChanged::TooMany
        | OrganizationChanged::Member => Ok(StatusCode::NO_CONTENT),
    }
}
