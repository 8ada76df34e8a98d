//! `GET /v1/admin/plans/{name}/versions`.

use std::sync::Arc;

use airouter_billing::PlanVersionId;
use airouter_billing::plan_terms::PlanTerms;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::one;
use crate::answer::Answer;
use crate::body::{Params, PathName};
use crate::page::{Page, PageQuery};
use crate::shared::Shared;
use crate::values::Time;

/// A version of a price plan.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanVersion {
    /// Which; requests name it.
    version: i64,
    /// From when on it was in force, until the next one was.
    since: Time,
    /// What it says.
    #[schema(value_type = Object)]
    terms: PlanTerms,
}

/// All versions of a price plan, the last one first. None is ever changed.
#[utoipa::path(
    get,
    path = "/v1/admin/plans/{name}/versions",
    tag = "prices",
    params(("name" = String, Path, description = "The plan's name"), PageQuery),
    responses((status = 200, description = "A page of versions", body = Page<PlanVersion>))
)]
pub(crate) async fn plan_versions(
    State(shared): State<Arc<Shared>>,
    PathName(name): PathName,
    Params(query): Params<PageQuery>,
) -> Answer<Page<PlanVersion>> {
    one::find(&shared, &name).await?;
    let limit = query.limit()?;
    let before = query.after_number()?.map(PlanVersionId::new);
    let found = shared.store.plan_versions(&name, before, limit + 1).await?;
    Ok(Json(Page::of_numbered(
        found,
        limit,
        |version| version.version.get(),
        |version| PlanVersion {
            version: version.version.get(),
            since: Time(version.since),
            terms: version.terms,
        },
    )))
}
