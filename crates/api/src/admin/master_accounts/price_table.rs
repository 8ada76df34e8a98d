//! `GET /v1/admin/master-accounts/{id}/prices`.

use std::sync::Arc;

use airouter_billing::MasterAccountId;
use airouter_store::master_accounts::UpstreamKind;
use airouter_store::prices::PriceProvider;
use axum::Json;
use axum::extract::State;
use uuid::Uuid;

use super::one;
use crate::admin::prices::{Price, listed};
use crate::answer::Answer;
use crate::body::{Params, PathId};
use crate::inventory::InventoryError;
use crate::page::{Page, PageQuery};
use crate::problem::Problem;
use crate::shared::Shared;

/// The price table of an account at a compatible server that is in force, by model.
#[utoipa::path(
    get,
    path = "/v1/admin/master-accounts/{id}/prices",
    tag = "inventory",
    params(("id" = crate::values::Id, Path, description = "The account's id"), PageQuery),
    responses((status = 200, description = "A page of prices", body = Page<Price>))
)]
pub(crate) async fn price_table(
    State(shared): State<Arc<Shared>>,
    PathId(id): PathId,
    Params(query): Params<PageQuery>,
) -> Answer<Page<Price>> {
    let account = with_table(&shared, id).await?;
    let provider = PriceProvider::Compatible(account);
    let catalog = shared.store.catalog().await?;
    let models = catalog
        .into_iter()
        .filter(|model| model.provider == provider);
    Ok(Json(Page::of_sorted(
        models,
        &query,
        |model| model.prices.id.clone(),
        |model| listed(&model, None),
    )?))
}

/// The account, if it is one that has a price table.
pub(super) async fn with_table(shared: &Shared, id: Uuid) -> Result<MasterAccountId, Problem> {
    let account = one::find(shared, id).await?;
    match account.kind {
        UpstreamKind::Compatible => Ok(account.id),
        UpstreamKind::OpenRouter => Err(InventoryError::NoPriceTable(account.name).into()),
    }
}
