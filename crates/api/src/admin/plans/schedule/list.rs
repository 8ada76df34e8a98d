//! `GET /v1/admin/plans/{name}/schedule`.

use std::sync::Arc;

use airouter_store::schedule::ScheduledVersion as Stored;
use axum::Json;
use axum::extract::State;

use super::ScheduledVersion;
use crate::admin::plans::one;
use crate::answer::Answer;
use crate::body::{Params, PathName};
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// The versions of a price plan that are to come, the next one first.
#[utoipa::path(
    get,
    path = "/v1/admin/plans/{name}/schedule",
    tag = "prices",
    params(("name" = String, Path, description = "The plan's name"), PageQuery),
    responses((status = 200, description = "A page of versions", body = Page<ScheduledVersion>))
)]
pub(crate) async fn scheduled_plan_versions(
    State(shared): State<Arc<Shared>>,
    PathName(name): PathName,
    Params(query): Params<PageQuery>,
) -> Answer<Page<ScheduledVersion>> {
    one::find(&shared, &name).await?;
    let found = shared.store.scheduled_versions(&name).await?;
    let key = |version: &Stored| {
        let micros = version.effective_from.as_micros();
        format!("{micros:020} {}", version.id)
    };
    Ok(Json(Page::of_sorted(
        found,
        &query,
        key,
        ScheduledVersion::from,
    )?))
}
