//! `GET /v1/admin/settings`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::shared::{Setting, Shared};

/// What the server runs with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerSettings {
    /// The version of the program.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// What its environment says, or what holds where it says nothing.
    settings: Vec<Setting>,
}

/// What the server that answers runs with, as its environment says; changed there, and with a restart. Of secrets it is only
/// told whether they are set.
#[utoipa::path(
    get,
    path = "/v1/admin/settings",
    tag = "inventory",
    responses((status = 200, description = "The settings", body = ServerSettings))
)]
pub(crate) async fn settings(State(shared): State<Arc<Shared>>) -> Answer<ServerSettings> {
    Ok(Json(ServerSettings {
        version: env!("CARGO_PKG_VERSION"),
        settings: shared.settings.clone(),
    }))
}
