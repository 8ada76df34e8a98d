//! `DELETE /v1/admin/aliases/{name}`.

use std::sync::Arc;

use airouter_store::audit::named;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::audited::Author;
use crate::body::PathName;
use crate::shared::Shared;

/// Remove an alias.
#[utoipa::path(
    delete,
    path = "/v1/admin/aliases/{name}",
    tag = "inventory",
    params(("name" = String, Path, description = "The alias, its slashes as %2F")),
    responses((status = 204, description = "The alias is removed"))
)]
pub(crate) async fn remove_alias(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathName(name): PathName,
) -> Done {
    let entry = author.entry(&shared, "alias.remove", named("alias", &name), None)?;
    shared.store.remove_alias(&name, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
