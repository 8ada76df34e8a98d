//! `DELETE /v1/auth/sessions/{id}`.

use std::sync::Arc;

use airouter_billing::SessionId;
use airouter_store::logins::SessionEnd;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::body::PathId;
use crate::caller::Caller;
use crate::shared::Shared;

/// End one of the caller's sessions: its tokens are refused from now on.
#[utoipa::path(
    delete,
    path = "/v1/auth/sessions/{id}",
    tag = "auth",
    params(("id" = crate::values::Id, Path, description = "The session's id")),
    responses((status = 204, description = "The session has ended"))
)]
pub(crate) async fn end_session(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
) -> Done {
    shared
        .store
        .end_session(
            login.user,
            SessionId::new(id),
            SessionEnd::Logout,
            shared.now(),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
