//! `POST /v1/auth/password-reset`.

pub(crate) mod confirm;

use std::sync::Arc;

use airouter_store::mailed_tokens::MailedKind;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::links;
use crate::answer::Done;
use crate::attempts::Attempt;
use crate::body::JsonBody;
use crate::caller::ClientAddress;
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;

/// Who has forgotten a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordResetRequest {
    /// The e-mail address of the login.
    #[schema(example = "ann@example.com", max_length = 254)]
    email: String,
}

/// Mail a link with which a new password can be chosen.
///
/// The answer is the same whether there is such a login or not.
#[utoipa::path(
    post,
    path = "/v1/auth/password-reset",
    tag = "auth",
    request_body = PasswordResetRequest,
    responses((status = 202, description = "If there is such a login, the link is on its way"))
)]
pub(crate) async fn request_password_reset(
    State(shared): State<Arc<Shared>>,
    ClientAddress(from): ClientAddress,
    JsonBody(request): JsonBody<PasswordResetRequest>,
) -> Done {
    let email = names::email(&request.email).ok_or(Problem::Invalid {
        field: "email",
        expected: "an e-mail address",
    })?;
    // By what was typed: whether it is anybody's address makes no difference.
    shared
        .count(&Attempt::Reset {
            email: &email,
            from,
        })
        .await?;
    links::mail(&shared, &email, MailedKind::ResetPassword).await?;
    Ok(StatusCode::ACCEPTED)
}
