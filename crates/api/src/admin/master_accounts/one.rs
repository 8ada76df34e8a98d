//! `GET /v1/admin/master-accounts/{id}`.

use std::sync::Arc;

use airouter_store::master_accounts::MasterAccount as Stored;
use axum::extract::State;
use uuid::Uuid;

use super::{MasterAccount, shown};
use crate::body::PathId;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags::{Tagged, tagged};

/// One master account. Its `ETag` is what `If-Match` of a change must be.
#[utoipa::path(
    get,
    path = "/v1/admin/master-accounts/{id}",
    tag = "inventory",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    responses((status = 200, description = "The account", body = MasterAccount))
)]
pub(crate) async fn master_account(
    State(shared): State<Arc<Shared>>,
    PathId(id): PathId,
) -> Tagged<MasterAccount> {
    show(&shared, id).await
}

pub(super) async fn find(shared: &Shared, id: Uuid) -> Result<Stored, Problem> {
    let accounts = shared.store.master_accounts().await?;
    let mut accounts = accounts.into_iter();
    accounts
        .find(|account| account.id.get() == id)
        .ok_or(Problem::NotFound("master account"))
}

/// One as it is now.
pub(super) async fn show(shared: &Shared, id: Uuid) -> Tagged<MasterAccount> {
    let account = find(shared, id).await?;
    let described = account.described();
    tagged(&described, shown(shared, account, shared.now()))
}
