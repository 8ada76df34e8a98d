//! `GET /v1/organizations/{id}/invitations`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::MemberInvitation;
use crate::answer::Answer;
use crate::body::{Params, PathId};
use crate::caller::Caller;
use crate::organizations::of_owner;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// The invitations that nobody has accepted or revoked, expired ones too, the oldest first. Only owners see them.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/invitations",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id"), PageQuery),
    responses((status = 200, description = "A page of invitations", body = Page<MemberInvitation>))
)]
pub(crate) async fn list_member_invitations(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
    Params(query): Params<PageQuery>,
) -> Answer<Page<MemberInvitation>> {
    let organization = of_owner(&shared, &login, id).await?;
    let limit = query.limit()?;
    let found = shared
        .store
        .member_invitations(organization, query.after()?, limit + 1)
        .await?;
    Ok(Json(Page::of(
        found,
        limit,
        |invitation| invitation.id,
        MemberInvitation::from,
    )))
}
