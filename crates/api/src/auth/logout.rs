//! `POST /v1/auth/logout`.

use std::sync::Arc;

use airouter_store::logins::SessionEnd;
use axum::extract::State;
use http::{HeaderMap, StatusCode};

use crate::caller::Caller;
use crate::cookies;
use crate::problem::Problem;
use crate::shared::Shared;

/// End the session: its access and refresh tokens are refused from now on.
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    tag = "auth",
    responses((status = 204, description = "The session has ended"))
)]
pub(crate) async fn logout(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
) -> Result<(StatusCode, HeaderMap), Problem> {
    shared
        .store
        .end_session(login.user, login.session, SessionEnd::Logout, shared.now())
        .await?;
    Ok((StatusCode::NO_CONTENT, cookies::clear()?))
}
