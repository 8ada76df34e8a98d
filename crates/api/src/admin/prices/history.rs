//! `GET /v1/admin/prices/history`.

use std::sync::Arc;

use airouter_billing::ids::ModelPricingId;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Price, listed};
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::Time;

/// Of which model.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// The model's id.
    #[param(example = "openai/gpt-4o-mini")]
    model: String,
    /// `next_cursor` of the page before; without it the list begins.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// A version of a model's prices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PriceVersion {
    /// From when on it was in force.
    in_force_from: Time,
    /// Whether it is in force; else another one of the same provider is, or the model is not sold there any more.
    is_in_force: bool,
    #[serde(flatten)]
    price: Price,
}

/// All versions of a model's prices, of whichever provider, the last one first.
#[utoipa::path(
    get,
    path = "/v1/admin/prices/history",
    tag = "prices",
    params(HistoryQuery),
    responses((status = 200, description = "A page of versions", body = Page<PriceVersion>))
)]
pub(crate) async fn price_history(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<HistoryQuery>,
) -> Answer<Page<PriceVersion>> {
    if !airouter_billing::sale::is_name(&query.model) {
        return Err(Problem::Invalid {
            field: "model",
            expected: "the id of a model",
        });
    }
    let page = PageQuery::new(query.cursor, query.limit);
    let limit = page.limit()?;
    let before = page.after_number()?.map(ModelPricingId::new);
    let found = shared
        .store
        .price_history(&query.model, before, limit + 1)
        .await?;
    Ok(Json(Page::of_numbered(
        found,
        limit,
        |version| version.model.prices.version.get(),
        |version| PriceVersion {
            in_force_from: Time(version.in_force_from),
            is_in_force: version.is_active,
            price: listed(&version.model, None),
        },
    )))
}
