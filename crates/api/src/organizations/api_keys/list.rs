//! `GET /v1/organizations/{id}/api-keys`.

use std::sync::Arc;

use airouter_store::key_admin::KeyHolder;
use axum::extract::State;

use crate::answer::Answer;
use crate::body::{Params, PathId};
use crate::caller::Caller;
use crate::keys::{self, ApiKey};
use crate::organizations::of_owner;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// The keys that spend from an organization, the oldest first, revoked ones too. Only its owners see them.
#[utoipa::path(
    get,
    path = "/v1/organizations/{id}/api-keys",
    tag = "organizations",
    params(("id" = crate::values::Id, Path, description = "The organization's id"), PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<ApiKey>))
)]
pub(crate) async fn list_organization_api_keys(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
    Params(query): Params<PageQuery>,
) -> Answer<Page<ApiKey>> {
    let organization = of_owner(&shared, &login, id).await?;
    keys::page(&shared, KeyHolder::Payer(organization), &query).await
}
