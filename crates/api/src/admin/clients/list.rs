//! `GET /v1/admin/clients`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_store::client_admin::ClientQuery;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Client;
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{self, Page, PageQuery};
use crate::shared::Shared;

/// Which clients.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// What the name or the e-mail address has in it, whatever its case.
    #[param(max_length = 254)]
    search: Option<String>,
    /// `next_cursor` of the page before; without it the list begins.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// All accounts, the oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/clients",
    tag = "admin",
    params(ListQuery),
    responses((status = 200, description = "A page of accounts", body = Page<Client>))
)]
pub(crate) async fn list_clients(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<ListQuery>,
) -> Answer<Page<Client>> {
    let page = PageQuery::new(query.cursor, query.limit);
    let limit = page.limit()?;
    let clients = ClientQuery {
        search: Some(page::search(query.search)?).filter(|text| !text.is_empty()),
        after: page.after()?.map(AccountId::new),
        limit: limit + 1,
    };
    let found = shared.store.list_clients(&clients).await?;
    Ok(Json(Page::of(
        found,
        limit,
        |client| client.account.get(),
        Client::from,
    )))
}
