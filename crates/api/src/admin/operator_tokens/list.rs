//! `GET /v1/admin/operator-tokens`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::OperatorToken;
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// All operator tokens, the oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/operator-tokens",
    tag = "admin",
    params(PageQuery),
    responses((status = 200, description = "A page of tokens", body = Page<OperatorToken>))
)]
pub(crate) async fn list_operator_tokens(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<PageQuery>,
) -> Answer<Page<OperatorToken>> {
    let limit = query.limit()?;
    let found = shared
        .store
        .operator_tokens(query.after()?, limit + 1)
        .await?;
    Ok(Json(Page::of(
        found,
        limit,
        |token| token.id,
        OperatorToken::from,
    )))
}
