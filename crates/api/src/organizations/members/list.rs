//! `GET /v1/organizations/{id}/members`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Member;
use crate::answer::Answer;
use crate::body::{Params, PathId};
use crate::caller::Caller;
use crate::organizations::of_owner;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// The members of an organization, the oldest first. Only its owners see them.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/members",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id"), PageQuery),
    responses((status = 200, description = "A page of members", body = Page<Member>))
)]
pub(crate) async fn list_members(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
    Params(query): Params<PageQuery>,
) -> Answer<Page<Member>> {
    let organization = of_owner(&shared, &login, id).await?;
    let limit = query.limit()?;
    let found = shared
        .store
        .members(organization, query.after()?, limit + 1)
        .await?;
    Ok(Json(Page::of(
        found,
        limit,
        |member| member.id,
        Member::from,
    )))
}
