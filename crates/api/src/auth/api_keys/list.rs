//! `GET /v1/auth/api-keys`.

use std::sync::Arc;

use airouter_billing::ApiKeyId;
use axum::Json;
use axum::extract::State;

use super::ApiKey;
use crate::answer::Answer;
use crate::body::Params;
use crate::caller::Caller;
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
    let limit = query.limit()?;
    let after = query.after()?.map(ApiKeyId::new);
    let keys = shared
        .store
        .keys_of(login.account, after, limit + 1)
        .await?;
    Ok(Json(Page::of(
        keys,
        limit,
        |key| key.id.get(),
        ApiKey::from,
    )))
}
