//! `GET /v1/auth/me`.

use axum::Json;

use super::user::User;
use crate::answer::Answer;
use crate::caller::Caller;

/// Who has logged in.
#[utoipa::path(
    get,
    path = "/v1/auth/me",
    tag = "auth",
    responses((status = 200, description = "The login", body = User))
)]
pub(crate) async fn me(Caller(login): Caller) -> Answer<User> {
    Ok(Json(User::from(&*login)))
}
