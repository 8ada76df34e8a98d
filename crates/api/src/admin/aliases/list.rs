//! `GET /v1/admin/aliases`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Alias;
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// All aliases, by name.
#[utoipa::path(
    get,
    path = "/v1/admin/aliases",
    tag = "inventory",
    params(PageQuery),
    responses((status = 200, description = "A page of aliases", body = Page<Alias>))
)]
pub(crate) async fn list_aliases(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<PageQuery>,
) -> Answer<Page<Alias>> {
    let rules = shared.store.sale_rules().await?;
    Ok(Json(Page::of_sorted(
        rules.aliases.values(),
        &query,
        |alias| alias.name().to_owned(),
        Alias::from,
    )?))
}
