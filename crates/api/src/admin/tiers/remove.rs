//! `DELETE /v1/admin/tiers/{name}`.

use std::sync::Arc;

use airouter_store::audit::named;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::audited::Author;
use crate::body::PathName;
use crate::shared::Shared;

/// Remove a tier that no account has.
#[utoipa::path(
    delete,
    path = "/v1/admin/tiers/{name}",
    tag = "prices",
    params(("name" = String, Path, description = "The tier's name")),
    responses((status = 204, description = "The tier is removed"))
)]
pub(crate) async fn remove_tier(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathName(name): PathName,
) -> Done {
    let entry = author.entry(&shared, "tier.remove", named("tier", &name), None)?;
    shared.store.remove_tier(&name, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
