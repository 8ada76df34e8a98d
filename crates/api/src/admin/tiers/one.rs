//! `GET /v1/admin/tiers/{name}`.

use std::sync::Arc;

use airouter_store::tiers::Tier as Stored;
use axum::extract::State;

use super::Tier;
use crate::body::PathName;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags::{Tagged, tagged};

/// One tier. Its `ETag` is what `If-Match` of a change must be.
#[utoipa::path(
    get,
    path = "/v1/admin/tiers/{name}",
    tag = "prices",
    params(("name" = String, Path, description = "The tier's name")),
    responses((status = 200, description = "The tier", body = Tier))
)]
pub(crate) async fn tier(
    State(shared): State<Arc<Shared>>,
    PathName(name): PathName,
) -> Tagged<Tier> {
    show(&shared, &name).await
}

pub(super) async fn find(shared: &Shared, name: &str) -> Result<Option<Stored>, Problem> {
    let tiers = shared.store.tiers().await?;
    Ok(tiers.into_iter().find(|tier| tier.name == name))
}

/// One as it is now.
pub(super) async fn show(shared: &Shared, name: &str) -> Tagged<Tier> {
    let tier = find(shared, name).await?.ok_or(Problem::NotFound("tier"))?;
    tagged(&tier.described(), tier.into())
}
