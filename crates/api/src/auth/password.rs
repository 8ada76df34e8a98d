//! `POST /v1/auth/password`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{confirmed, new_password};
use crate::answer::Done;
use crate::audited::Actor;
use crate::body::{JsonBody, secret};
use crate::caller::{Caller, ClientAddress};
use crate::shared::Shared;

/// A new password in place of another.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The password of now.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, format = Password, max_length = 1024, example = "correct horse battery")]
    current_password: SecretString,
    /// The new one: at least 8 characters.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024, example = "wrong horse battery")]
    password: SecretString,
}

/// Change the caller's password. The caller's other sessions end.
#[utoipa::path(
    post,
    path = "/v1/auth/password",
    tag = "auth",
    request_body = PasswordChange,
    responses((status = 204, description = "The new password holds"))
)]
pub(crate) async fn change_password(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<PasswordChange>,
) -> Done {
    new_password::check(&request.password)?;
    let before = confirmed::password(&shared, &login, address, request.current_password).await?;
    let after = shared.passwords.hash(request.password).await?;
    let actor = Actor::of_login(&login, address);
    let subject = login.account.get();
    let entry = actor.entry("login.change_password", subject, shared.now());
    shared
        .store
        .change_password(
            login.user,
            before.as_str(),
            after.as_str(),
            login.session,
            &entry,
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
