//! `GET /v1/admin/master-accounts`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{MasterAccount, shown};
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// All master accounts, the oldest first.
#[utoipa::path(
    get,
    path = "/v1/admin/master-accounts",
    tag = "inventory",
    params(PageQuery),
    responses((status = 200, description = "A page of master accounts", body = Page<MasterAccount>))
)]
pub(crate) async fn list_master_accounts(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<PageQuery>,
) -> Answer<Page<MasterAccount>> {
    let mut accounts = shared.store.master_accounts().await?;
    accounts.sort_by_key(|account| account.id.to_string());
    let now = shared.now();
    Ok(Json(Page::of_sorted(
        accounts,
        &query,
        |account| account.id.to_string(),
        |account| shown(&shared, account, now),
    )?))
}
