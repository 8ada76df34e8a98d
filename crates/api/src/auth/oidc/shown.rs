//! `GET /v1/auth/oidc`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::shared::Shared;

/// Where people may log in who have no password here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShownProvider {
    /// What to call it.
    #[schema(example = "Example ID")]
    name: String,
    /// Its issuer.
    #[schema(example = "https://id.example.com")]
    issuer: String,
}

/// The provider that people may log in at; 404 if there is none.
#[utoipa::path(
    get,
    path = "/v1/auth/oidc",
    tag = "auth",
    responses((status = 200, description = "The provider", body = ShownProvider))
)]
pub(crate) async fn login_provider(State(shared): State<Arc<Shared>>) -> Answer<ShownProvider> {
    let provider = shared.login_provider()?;
    Ok(Json(ShownProvider {
        name: provider.name.clone(),
        issuer: provider.client.issuer().to_owned(),
    }))
}
