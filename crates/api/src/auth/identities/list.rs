//! `GET /v1/auth/identities`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::caller::Caller;
use crate::page::Page;
use crate::shared::Shared;
use crate::values::{Id, Time};

/// Somebody at a provider who logs in as the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShownIdentity {
    /// Its id.
    id: Id,
    /// The provider.
    #[schema(example = "https://id.example.com")]
    issuer: String,
    /// The e-mail address that the provider named then.
    #[schema(example = "ann@example.com")]
    email: Option<String>,
    /// Since when it is linked.
    created_at: Time,
}

/// The caller's identities, the oldest first: one of a provider.
#[utoipa::path(
    get,
    path = "/v1/auth/identities",
    tag = "auth",
    responses((status = 200, description = "All of them", body = Page<ShownIdentity>))
)]
pub(crate) async fn list_identities(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
) -> Answer<Page<ShownIdentity>> {
    let identities = shared.store.identities(login.user).await?;
    let shown = identities.into_iter().map(|identity| ShownIdentity {
        id: Id(identity.id),
        issuer: identity.issuer,
        email: identity.email,
        created_at: Time(identity.created_at),
    });
    Ok(Json(Page {
        data: shown.collect(),
        next_cursor: None,
    }))
}
