//! `GET /v1/admin/tiers`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Tier;
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// All tiers, by name.
#[utoipa::path(
    get,
    path = "/v1/admin/tiers",
    tag = "prices",
    params(PageQuery),
    responses((status = 200, description = "A page of tiers", body = Page<Tier>))
)]
pub(crate) async fn list_tiers(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<PageQuery>,
) -> Answer<Page<Tier>> {
    let mut tiers = shared.store.tiers().await?;
    tiers.sort_by(|left, right| left.name.cmp(&right.name));
    let page = Page::of_sorted(tiers, &query, |tier| tier.name.clone(), Tier::from)?;
    Ok(Json(page))
}
