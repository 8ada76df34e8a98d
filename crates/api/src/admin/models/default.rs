//! `GET /v1/admin/default-model`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::shared::Shared;

/// The model of requests that name none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefaultModel {
    /// A model or an alias; null leaves it to `DEFAULT_MODEL` of each server.
    #[schema(example = "openai/gpt-4o-mini")]
    pub(super) model: Option<String>,
}

/// The model of requests that name none.
#[utoipa::path(
    get,
    path = "/v1/admin/default-model",
    tag = "inventory",
    responses((status = 200, description = "The default model", body = DefaultModel))
)]
pub(crate) async fn default_model(State(shared): State<Arc<Shared>>) -> Answer<DefaultModel> {
    let model = shared.store.sale_rules().await?.default_model;
    Ok(Json(DefaultModel { model }))
}
