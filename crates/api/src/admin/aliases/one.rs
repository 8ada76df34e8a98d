//! `GET /v1/admin/aliases/{name}`.

use std::sync::Arc;

use airouter_store::sale::described_alias;
use axum::extract::State;

use super::Alias;
use crate::body::PathName;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags::{Tagged, tagged};

/// One alias. Its `ETag` is what `If-Match` of a change must be.
#[utoipa::path(
    get,
    path = "/v1/admin/aliases/{name}",
    tag = "inventory",
    params(("name" = String, Path, description = "The alias, its slashes as %2F")),
    responses((status = 200, description = "The alias", body = Alias))
)]
pub(crate) async fn alias(
    State(shared): State<Arc<Shared>>,
    PathName(name): PathName,
) -> Tagged<Alias> {
    show(&shared, &name).await
}

/// One as it is now.
pub(super) async fn show(shared: &Shared, name: &str) -> Tagged<Alias> {
    let rules = shared.store.sale_rules().await?;
    let alias = rules.aliases.get(name).ok_or(Problem::NotFound("alias"))?;
    tagged(&described_alias(alias), alias.into())
}
