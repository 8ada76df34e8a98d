//! `POST /v1/admin/clients/{id}/disable`.

use std::sync::Arc;

use airouter_store::client_admin::AccountStatus;
use axum::extract::State;

use super::one::TaggedClient;
use super::status::{self, Reason};
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::shared::Shared;

/// Disable an account: its keys are refused within a second, its login at once, and its sessions end.
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/disable",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = Reason,
    responses((status = 200, description = "The account as it is now", body = super::Client))
)]
pub(crate) async fn disable_client(
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
        AccountStatus::Disabled,
        &reason,
    )
    .await
}
