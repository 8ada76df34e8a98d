//! `POST /v1/auth/verify-email`.

pub(crate) mod resend;

use std::sync::Arc;

use airouter_store::StoreError;
use airouter_store::mailed_tokens::MailedKind;
use axum::extract::State;
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::links;
use crate::answer::Done;
use crate::attempts::Attempt;
use crate::body::{JsonBody, secret};
use crate::caller::ClientAddress;
use crate::problem::Problem;
use crate::shared::Shared;

/// The token of a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailVerification {
    /// What follows `#token=` in the link that was mailed.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, max_length = 200, example = "air-ev-…")]
    token: SecretString,
}

/// Prove an e-mail address, with the token that was mailed to it: good once, for three days.
#[utoipa::path(
    post,
    path = "/v1/auth/verify-email",
    tag = "auth",
    request_body = EmailVerification,
    responses((status = 204, description = "The address is proved"))
)]
pub(crate) async fn verify_email(
    State(shared): State<Arc<Shared>>,
    address: ClientAddress,
    JsonBody(request): JsonBody<EmailVerification>,
) -> Done {
    let attempt = Attempt::UseToken { from: address.0 };
    shared.count(&attempt).await?;
    let presented = links::presented(&shared, MailedKind::VerifyEmail, &request.token, address)?;
    shared
        .store
        .verify_email(&presented)
        .await
        .map_err(|error| match error {
            StoreError::NotFound { .. } => Problem::NoSuchMailedToken,
            error => error.into(),
        })?;
    shared.succeeded(&attempt).await;
    Ok(StatusCode::NO_CONTENT)
}
