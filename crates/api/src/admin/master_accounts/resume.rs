//! `POST /v1/admin/master-accounts/{id}/resume`.

use std::sync::Arc;

use airouter_store::master_accounts::MasterAccountStatus;
use axum::extract::State;

use super::{MasterAccount, status};
use crate::audited::{Author, Why};
use crate::body::{JsonBody, PathId};
use crate::shared::Shared;
use crate::tags::Tagged;

/// Use a master account again; what it failed before is forgotten.
#[utoipa::path(
    post,
    path = "/v1/admin/master-accounts/{id}/resume",
    tag = "inventory",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = Why,
    responses((status = 200, description = "The account as it is now", body = MasterAccount))
)]
pub(crate) async fn resume_master_account(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathId(id): PathId,
    JsonBody(why): JsonBody<Why>,
) -> Tagged<MasterAccount> {
    status::set(&shared, &author, id, MasterAccountStatus::Active, &why).await
}
