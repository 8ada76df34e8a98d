//! `GET /v1/admin/clients/{id}/api-keys`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_store::key_admin::KeyHolder;
use axum::extract::State;

use crate::admin::clients::one;
use crate::answer::Answer;
use crate::body::{Params, PathId};
use crate::keys::{self, ApiKey};
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// The keys that belong to an account and those that it pays for, the oldest first, revoked ones too.
#[utoipa::path(
    get,
    path = "/v1/admin/clients/{id}/api-keys",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id"), PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<ApiKey>))
)]
pub(crate) async fn list_client_api_keys(
    State(shared): State<Arc<Shared>>,
    PathId(id): PathId,
    Params(query): Params<PageQuery>,
) -> Answer<Page<ApiKey>> {
    let account = one::find(&shared, AccountId::new(id)).await?.account;
    keys::page(&shared, KeyHolder::Either(account), &query).await
}
