//! `PUT /v1/admin/default-model`.

use std::sync::Arc;

use airouter_store::audit::named;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::default::DefaultModel;
use crate::answer::Answer;
use crate::audited::Author;
use crate::body::JsonBody;
use crate::inventory::sale::check_default;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::named as said;

/// What the default model is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"model": "openai/gpt-4o-mini", "reason": "cheaper"}))]
pub(crate) struct DefaultModelChange {
    /// A model on sale, or an alias; null leaves it to `DEFAULT_MODEL` of each server.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>, required = true)]
    model: Option<Option<String>>,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Set the model of requests that name none.
#[utoipa::path(
    put,
    path = "/v1/admin/default-model",
    tag = "inventory",
    request_body = DefaultModelChange,
    responses((status = 200, description = "The default model as it is now", body = DefaultModel))
)]
pub(crate) async fn set_default_model(
    State(shared): State<Arc<Shared>>,
    author: Author,
    JsonBody(change): JsonBody<DefaultModelChange>,
) -> Answer<DefaultModel> {
    let model = change.model.ok_or(Problem::Invalid {
        field: "model",
        expected: "a model on sale, an alias, or null",
    })?;
    if let Some(model) = &model {
        check_default(&*shared.store, model).await?;
    }
    let subject = named("setting", "default_model");
    let entry = author.entry(&shared, "model.default", subject, change.reason.as_deref())?;
    shared
        .store
        .set_default_model(model.as_deref(), &entry)
        .await?;
    Ok(Json(DefaultModel { model }))
}
