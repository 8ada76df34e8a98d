//! `POST /v1/auth/verify-email/resend`.

use std::sync::Arc;

use airouter_store::mailed_tokens::MailedKind;
use axum::extract::State;
use http::StatusCode;

use crate::answer::Done;
use crate::attempts::Attempt;
use crate::auth::links;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;

/// Mail the link that proves the caller's e-mail address once more. After three there are pauses.
#[utoipa::path(
    post,
    path = "/v1/auth/verify-email/resend",
    tag = "auth",
    responses((status = 202, description = "The link is on its way"))
)]
pub(crate) async fn resend_email_verification(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
) -> Done {
    if login.email_verified {
        return Err(Problem::EmailVerified);
    }
    shared.count(&Attempt::Resend { to: login.user }).await?;
    links::mail(&shared, &login.email, MailedKind::VerifyEmail).await?;
    Ok(StatusCode::ACCEPTED)
}
