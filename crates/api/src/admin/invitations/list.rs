//! `GET /v1/admin/invitations`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Invitation;
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// All invitations, the oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/invitations",
    tag = "admin",
    params(PageQuery),
    responses((status = 200, description = "A page of invitations", body = Page<Invitation>))
)]
pub(crate) async fn list_invitations(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<PageQuery>,
) -> Answer<Page<Invitation>> {
    let limit = query.limit()?;
    let found = shared.store.invitations(query.after()?, limit + 1).await?;
    Ok(Json(Page::of(
        found,
        limit,
        |invitation| invitation.id,
        Invitation::from,
    )))
}
