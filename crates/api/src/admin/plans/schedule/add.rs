//! `POST /v1/admin/plans/{name}/schedule`.

use std::sync::Arc;

use airouter_store::StoreError;
use airouter_store::audit::named;
use airouter_store::schedule::ScheduledVersion as Stored;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ScheduledVersion;
use crate::admin::plans::{one, terms};
use crate::answer::{Created, created};
use crate::audited::Author;
use crate::body::{JsonBody, PathName};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::Time;

/// What a plan is to say from some time on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "effective_from": "2030-01-01T00:00:00Z",
    "terms": {"rule": {"rule": "percent_of_list", "factor": "0.75"}}
}))]
pub(crate) struct NewScheduledVersion {
    /// From when on, in the future.
    effective_from: Time,
    /// What it says: `rule`, and if need be `overrides` by model and `policy`. Prices and factors are texts.
    #[schema(value_type = Object)]
    terms: Value,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Say what a price plan says from some time on. Within a second of it, every server prices by it. Versions that are put in
/// force before then hold until then.
#[utoipa::path(
    post,
    path = "/v1/admin/plans/{name}/schedule",
    tag = "prices",
    params(("name" = String, Path, description = "The plan's name")),
    request_body = NewScheduledVersion,
    responses((status = 201, description = "What is to come", body = ScheduledVersion))
)]
pub(crate) async fn schedule_plan_version(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathName(name): PathName,
    JsonBody(request): JsonBody<NewScheduledVersion>,
) -> Created<ScheduledVersion> {
    one::find(&shared, &name).await?;
    let Time(effective_from) = request.effective_from;
    if effective_from <= shared.now() {
        return Err(Problem::Invalid {
            field: "effective_from",
            expected: "in the future",
        });
    }
    let version = Stored {
        id: Uuid::now_v7(),
        plan: name,
        effective_from,
        terms: terms(&request.terms)?,
    };
    let subject = named("plan", &version.plan);
    let entry = author.entry(&shared, "plan.schedule", subject, request.reason.as_deref())?;
    let scheduled = shared.store.schedule_version(&version, &entry).await;
    scheduled.map_err(|error| match error {
        StoreError::InUse { .. } => Problem::TooMany("scheduled versions"),
        error => error.into(),
    })?;
    created(version.into())
}
