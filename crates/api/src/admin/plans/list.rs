//! `GET /v1/admin/plans`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Plan;
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// All price plans as they are in force, by name.
#[utoipa::path(
    get,
    path = "/v1/admin/plans",
    tag = "prices",
    params(PageQuery),
    responses((status = 200, description = "A page of plans", body = Page<Plan>))
)]
pub(crate) async fn list_plans(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<PageQuery>,
) -> Answer<Page<Plan>> {
    let mut plans = shared.store.plans().await?;
    plans.sort_by(|left, right| left.name.cmp(&right.name));
    let page = Page::of_sorted(plans, &query, |plan| plan.name.clone(), Plan::from)?;
    Ok(Json(page))
}
