//! `PUT /v1/admin/plans/{name}`.

use std::sync::Arc;

use airouter_store::audit::named;
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Plan, one, terms};
use crate::audited::Author;
use crate::body::{JsonBody, PathName};
use crate::shared::Shared;
use crate::tags::{self, Tagged};

/// What a plan is to say from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"terms": {"rule": {"rule": "percent_of_list", "factor": "0.75"}}}))]
pub(crate) struct PlanChange {
    /// What it says: `rule`, and if need be `overrides` by model and `policy`. Prices and factors are texts.
    #[schema(value_type = Object)]
    terms: Value,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Put a new version of a price plan in force: it holds for requests that are admitted from within a second on. `If-Match` is
/// the `ETag` of what the caller has seen.
#[utoipa::path(
    put,
    path = "/v1/admin/plans/{name}",
    tag = "prices",
    params(
        ("name" = String, Path, description = "The plan's name"),
        ("If-Match" = String, Header, description = "The `ETag` of the plan as the caller has seen it, or `*`")
    ),
    request_body = PlanChange,
    responses((status = 200, description = "The plan as it is now", body = Plan))
)]
pub(crate) async fn change_plan(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathName(name): PathName,
    headers: HeaderMap,
    JsonBody(change): JsonBody<PlanChange>,
) -> Tagged<Plan> {
    let before = one::find(&shared, &name).await?;
    let seen = tags::seen(&headers, Some(before.described()))?;
    let terms = terms(&change.terms)?;
    let subject = named("plan", &name);
    let entry = author.entry(&shared, "plan.set", subject, change.reason.as_deref())?;
    shared
        .store
        .add_plan_version(&name, &seen, &terms, &entry)
        .await?;
    one::show(&shared, &name).await
}
