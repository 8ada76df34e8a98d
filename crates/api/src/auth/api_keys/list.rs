//! `GET /v1/auth/api-keys`.

use std::sync::Arc;

use airouter_store::key_admin::KeyHolder;
use axum::extract::State;

use crate::answer::Answer;
use crate::body::Params;
use crate::caller::Caller;
use crate::keys::{self, ApiKey};
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// The caller's keys, the oldest first, revoked ones too.
#[utoipa::path(
    get,
    path = "/v1/auth/api-keys",
    tag = "auth",
    params(PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<ApiKey>))
)]
pub(crate) async fn list_api_keys(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    Params(query): Params<PageQuery>,
) -> Answer<Page<ApiKey>> {
    keys::page(&shared, KeyHolder::Owner(login.account), &query).await
}
