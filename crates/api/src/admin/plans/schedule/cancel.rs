//! `DELETE /v1/admin/plans/{name}/schedule/{id}`.

use std::sync::Arc;

use airouter_store::audit::named;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::audited::Author;
use crate::body::PathPair;
use crate::shared::Shared;

/// Take back a version of a price plan that is to come.
#[utoipa::path(
    delete,
    path = "/v1/admin/plans/{name}/schedule/{id}",
    tag = "prices",
    params(
        ("name" = String, Path, description = "The plan's name"),
        ("id" = crate::values::Id, Path, description = "The scheduled version's id")
    ),
    responses((status = 204, description = "It will not come"))
)]
pub(crate) async fn cancel_scheduled_plan_version(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathPair(name, id): PathPair<String>,
) -> Done {
    let entry = author.entry(&shared, "plan.unschedule", named("plan", &name), None)?;
    shared
        .store
        .cancel_scheduled_version(&name, id, &entry)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
