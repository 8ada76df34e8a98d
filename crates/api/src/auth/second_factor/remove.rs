//! `POST /v1/auth/second-factor/remove`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use super::{PasswordAndCode, prove};
use crate::answer::Done;
use crate::audited::Actor;
use crate::auth::confirmed;
use crate::body::JsonBody;
use crate::caller::{Caller, ClientAddress};
use crate::shared::Shared;

/// Turn the second factor off: a login needs the password alone.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor/remove",
    tag = "auth",
    request_body = PasswordAndCode,
    responses((status = 204, description = "It is off"))
)]
pub(crate) async fn remove_second_factor(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<PasswordAndCode>,
) -> Done {
    confirmed::password(&shared, &login, address, request.password).await?;
    prove(&shared, &login, &request.code, address.0).await?;
    let actor = Actor::of_login(&login, address);
    let subject = login.account.get();
    let entry = actor.entry("login.second_factor_off", subject, shared.now());
    shared
        .store
        .remove_second_factor(login.user, &entry)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
