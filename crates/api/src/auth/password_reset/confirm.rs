//! `POST /v1/auth/password-reset/confirm`.

use std::sync::Arc;

use airouter_store::StoreError;
use airouter_store::mailed_tokens::MailedKind;
use axum::extract::State;
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::Done;
use crate::attempts::Attempt;
use crate::auth::{links, new_password};
use crate::body::{JsonBody, secret};
use crate::caller::ClientAddress;
use crate::problem::Problem;
use crate::shared::Shared;

/// A new password, and the token of a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordReset {
    /// What follows `#token=` in the link that was mailed.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, max_length = 200, example = "air-pr-…")]
    token: SecretString,
    /// The new password: at least 8 characters.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024, example = "correct horse battery")]
    password: SecretString,
}

/// Choose a new password, with the token that was mailed: good once, for an hour.
///
/// It ends every session of the login, voids the other links that were mailed, and proves the e-mail address.
#[utoipa::path(
    post,
    path = "/v1/auth/password-reset/confirm",
    tag = "auth",
    request_body = PasswordReset,
    responses((status = 204, description = "The new password holds"))
)]
pub(crate) async fn confirm_password_reset(
    State(shared): State<Arc<Shared>>,
    address: ClientAddress,
    JsonBody(request): JsonBody<PasswordReset>,
) -> Done {
    new_password::check(&request.password)?;
    let attempt = Attempt::UseToken { from: address.0 };
    shared.count(&attempt).await?;
    let presented = links::presented(&shared, MailedKind::ResetPassword, &request.token, address)?;
    let hash = shared.passwords.hash(request.password).await?;
    shared
        .store
        .reset_password(&presented, hash.as_str())
        .await
        .map_err(|error| match error {
            StoreError::NotFound { .. } => Problem::NoSuchMailedToken,
            error => error.into(),
        })?;
    shared.succeeded(&attempt).await;
    Ok(StatusCode::NO_CONTENT)
}
