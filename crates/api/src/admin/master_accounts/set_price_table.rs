//! `PUT /v1/admin/master-accounts/{id}/prices`.

use std::sync::Arc;

use airouter_billing::price_table;
use airouter_store::prices::ListedModel;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::price_table::with_table;
use crate::answer::Answer;
use crate::audited::Author;
use crate::body::{PathId, TableBody};
use crate::problem::Problem;
use crate::shared::Shared;

/// What became of a price table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableInForce {
    /// How many models it has.
    models: usize,
    /// How many of them are new or have other prices than before.
    new_prices: usize,
}

/// Put the price table of an account at a compatible server in force: an object with an entry for each model, as the README
/// describes it; an empty one takes all models back. Prices are texts. What was in force stays in the history.
#[utoipa::path(
    put,
    path = "/v1/admin/master-accounts/{id}/prices",
    tag = "inventory",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body(
        content = Object,
        description = "The table, of at most 4 MiB",
        example = json!({"acme/small": {"upstream_model": "small", "context_length": 128000, "prompt": "0.0000001", "completion": "0.0000004"}})
    ),
    responses((status = 200, description = "The table is in force", body = TableInForce))
)]
pub(crate) async fn set_price_table(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathId(id): PathId,
    TableBody(text): TableBody,
) -> Answer<TableInForce> {
    let account = with_table(&shared, id).await?;
    let table = price_table::parse(&text).map_err(|error| Problem::Unacceptable {
        field: "body",
        reason: error.to_string(),
    })?;
    let models: Vec<ListedModel> = table.into_iter().map(ListedModel::from).collect();
    let entry = author.entry(&shared, "master_account.set_prices", id, None)?;
    let new_prices = shared
        .store
        .set_price_table(account, &models, &entry)
        .await?;
    Ok(Json(TableInForce {
        models: models.len(),
        new_prices,
    }))
}
