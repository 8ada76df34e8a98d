//! `PATCH /v1/admin/models/{id}`.

use std::sync::Arc;

use airouter_billing::sale::is_name;
use airouter_store::audit::named;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Model, StateName, shown};
use crate::answer::Answer;
use crate::audited::Author;
use crate::body::{JsonBody, PathName};
use crate::problem::Problem;
use crate::shared::Shared;

/// Of more models nothing is decided.
const MOST_DECIDED: usize = 10_000;

/// Whether a model is to be sold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelChange {
    /// Whether it is sold; that holds for its variants (`a/b:free` of `a/b`) too.
    state: StateName,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Decide whether a model is sold; servers follow within a second. One that the price book does not have may be named too: it
/// holds as soon as it has.
#[utoipa::path(
    patch,
    path = "/v1/admin/models/{id}",
    tag = "inventory",
    params(("id" = String, Path, description = "The model's id, its slashes as %2F: openai%2Fgpt-4o-mini")),
    request_body = ModelChange,
    responses((status = 200, description = "The model as it is now", body = Model))
)]
pub(crate) async fn change_model(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathName(id): PathName,
    JsonBody(change): JsonBody<ModelChange>,
) -> Answer<Model> {
    if !is_name(&id) {
        return Err(Problem::NotFound("model"));
    }
    let before = shared.store.sale_rules().await?.states;
    if before.len() >= MOST_DECIDED && !before.contains_key(&id) {
        return Err(Problem::TooMany("models of which something is decided"));
    }
    let subject = named("model", &id);
    let entry = author.entry(&shared, "model.set", subject, change.reason.as_deref())?;
    shared
        .store
        .set_sale_state(&id, change.state.into(), &entry)
        .await?;
    let rules = shared.store.sale_rules().await?;
    let catalog = shared.store.catalog().await?;
    let offers = catalog.iter().filter(|model| model.prices.id == id);
    Ok(Json(shown(&id, &rules, offers)))
}
