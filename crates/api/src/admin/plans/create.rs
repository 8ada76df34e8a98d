//! `POST /v1/admin/plans`.

use std::sync::Arc;

use airouter_store::audit::named;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Plan, one, terms};
use crate::answer::{Created, created};
use crate::audited::Author;
use crate::body::JsonBody;
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;

/// More than any operator has.
const MOST_PLANS: usize = 1_000;

/// A price plan to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "school", "terms": {"rule": {"rule": "percent_of_list", "factor": "0.8"}}}))]
pub(crate) struct NewPlan {
    /// Its name.
    #[schema(example = "school", min_length = 1, max_length = 200)]
    name: String,
    /// What it says: `rule`, and if need be `overrides` by model and `policy`. Prices and factors are texts.
    #[schema(value_type = Object)]
    terms: Value,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Create a price plan.
#[utoipa::path(
    post,
    path = "/v1/admin/plans",
    tag = "prices",
    request_body = NewPlan,
    responses((status = 201, description = "The plan", body = Plan))
)]
pub(crate) async fn create_plan(
    State(shared): State<Arc<Shared>>,
    author: Author,
    JsonBody(request): JsonBody<NewPlan>,
) -> Created<Plan> {
    let name = names::name(&request.name).ok_or(Problem::Invalid {
        field: "name",
        expected: "one line of at most 200 bytes",
    })?;
    let terms = terms(&request.terms)?;
    if shared.store.plans().await?.len() >= MOST_PLANS {
        return Err(Problem::TooMany("plans"));
    }
    let subject = named("plan", &name);
    let entry = author.entry(&shared, "plan.create", subject, request.reason.as_deref())?;
    shared.store.create_plan(&name, &terms, &entry).await?;
    created(one::find(&shared, &name).await?.into())
}
