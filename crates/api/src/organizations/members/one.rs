//! `GET /v1/organizations/{id}/members/{member_id}`.

use std::sync::Arc;

use axum::extract::State;
use uuid::Uuid;

use super::{Member, TaggedMember, find, tagged};
use crate::body::PathPair;
use crate::caller::Caller;
use crate::organizations::of_owner;
use crate::shared::Shared;

/// A member. The `ETag` is what `If-Match` of a change must be. Only owners see it.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/members/{member_id}",
    tag = "organizations",
    params(
        ("id" = crate::values::Id, Path, description = "The organization's id"),
        ("member_id" = crate::values::Id, Path, description = "The membership's id")
    ),
    responses((status = 200, description = "The member", body = Member))
)]
pub(crate) async fn member(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathPair(id, member): PathPair<Uuid>,
) -> TaggedMember {
    let organization = of_owner(&shared, &login, id).await?;
    tagged(find(&shared, organization, member).await?)
}
