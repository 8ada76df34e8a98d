//! `DELETE /v1/admin/operator-tokens/{id}`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::audited;
use crate::body::PathId;
use crate::caller::{ClientAddress, Operator};
use crate::shared::Shared;

/// Revoke an operator token: it is refused from now on.
#[utoipa::path(
    delete,
    path = "/v1/admin/operator-tokens/{id}",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The token's id")),
    responses((status = 204, description = "The token is revoked"))
)]
pub(crate) async fn revoke_operator_token(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
) -> Done {
    let entry = audited::entry(
        &operator,
        address,
        "operator_token.revoke",
        id,
        shared.now(),
    );
    shared.store.revoke_operator_token(id, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
