//! `GET /v1/admin/plans/{name}`.

use std::sync::Arc;

use airouter_store::plans::StoredPlan;
use axum::extract::State;

use super::Plan;
use crate::body::PathName;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags::{Tagged, tagged};

/// One price plan as it is in force. Its `ETag` is what `If-Match` of a change must be.
#[utoipa::path(
    get,
    path = "/v1/admin/plans/{name}",
    tag = "prices",
    params(("name" = String, Path, description = "The plan's name")),
    responses((status = 200, description = "The plan", body = Plan))
)]
pub(crate) async fn plan(
    State(shared): State<Arc<Shared>>,
    PathName(name): PathName,
) -> Tagged<Plan> {
    show(&shared, &name).await
}

pub(super) async fn find(shared: &Shared, name: &str) -> Result<StoredPlan, Problem> {
    let plans = shared.store.plans().await?;
    let mut plans = plans.into_iter();
    plans
        .find(|plan| plan.name == name)
        .ok_or(Problem::NotFound("plan"))
}

/// One as it is now.
pub(super) async fn show(shared: &Shared, name: &str) -> Tagged<Plan> {
    let plan = find(shared, name).await?;
    tagged(&plan.described(), plan.into())
}
