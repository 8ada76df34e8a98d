//! `POST /v1/admin/master-accounts/{id}/drain`.

use std::sync::Arc;

use airouter_store::master_accounts::MasterAccountStatus;
use axum::extract::State;

use super::{MasterAccount, status};
use crate::audited::{Author, Why};
use crate::body::{JsonBody, PathId};
use crate::shared::Shared;
use crate::tags::Tagged;

/// Drain a master account: it gets no new request unless nothing else is left; what runs goes on.
#[utoipa::path(
    post,
    path = "/v1/admin/master-accounts/{id}/drain",
    tag = "inventory",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = Why,
    responses((status = 200, description = "The account as it is now", body = MasterAccount))
)]
pub(crate) async fn drain_master_account(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathId(id): PathId,
    JsonBody(why): JsonBody<Why>,
) -> Tagged<MasterAccount> {
    status::set(&shared, &author, id, MasterAccountStatus::Draining, &why).await
}
