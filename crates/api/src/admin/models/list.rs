//! `GET /v1/admin/models`.

use std::collections::BTreeMap;
use std::sync::Arc;

use airouter_billing::sale::SaleState;
use airouter_store::prices::CatalogModel;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Model, StateName, shown};
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{self, Page, PageQuery};
use crate::shared::Shared;

/// Which models.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ModelsQuery {
    /// What the id has in it.
    #[param(max_length = 254)]
    search: Option<String>,
    /// Only those that are so.
    #[param(inline)]
    state: Option<StateName>,
    /// `next_cursor` of the page before; without it the list begins.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// Every model of the price book or of which something was decided, by id: whether it is sold, and what upstreams ask.
#[utoipa::path(
    get,
    path = "/v1/admin/models",
    tag = "inventory",
    params(ModelsQuery),
    responses((status = 200, description = "A page of models", body = Page<Model>))
)]
pub(crate) async fn list_models(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<ModelsQuery>,
) -> Answer<Page<Model>> {
    let rules = shared.store.sale_rules().await?;
    let catalog = shared.store.catalog().await?;
    let mut models: BTreeMap<&str, Vec<&CatalogModel>> = BTreeMap::new();
    for id in rules.states.keys() {
        models.entry(id).or_default();
    }
    for model in &catalog {
        models.entry(&model.prices.id).or_default().push(model);
    }
    let search = page::search(query.search)?;
    let state = query.state.map(SaleState::from);
    models.retain(|id, _| {
        id.contains(&search) && state.is_none_or(|state| rules.state_of(id) == state)
    });
    let page = PageQuery::new(query.cursor, query.limit);
    Ok(Json(Page::of_sorted(
        models,
        &page,
        |(id, _)| (*id).to_owned(),
        |(id, offers)| shown(id, &rules, offers),
    )?))
}
