//! `POST /v1/admin/clients/{id}/enable`.

use std::sync::Arc;

use airouter_store::client_admin::AccountStatus;
use axum::extract::State;

use super::one::TaggedClient;
use super::status::{self, Reason};
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::shared::Shared;

/// Enable an account that was disabled: its keys and its login work again.
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/enable",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = Reason,
    responses((status = 200, description = "The account as it is now", body = super::Client))
)]
pub(crate) async fn enable_client(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    JsonBody(reason): JsonBody<Reason>,
) -> TaggedClient {
    status::set(
        &shared,
        &operator,
        address,
        id,
        AccountStatus::Active,
        &reason,
    )
    .await
}
