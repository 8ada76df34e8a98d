//! `POST /v1/admin/clients/{id}/impersonate`.

use std::sync::Arc;

use airouter_auth::{ACCESS_TOKEN_SECONDS, AccessClaims, random_id};
use airouter_billing::{AccountId, SessionId};
use airouter_store::logins::NewImpersonation;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::one;
use super::status::Reason;
use crate::answer::Answer;
use crate::audited;
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::problem::Problem;
use crate::shared::Shared;

/// A token with which to see what a client sees.
#[derive(Serialize, ToSchema)]
pub(crate) struct Impersonation {
    /// To be sent as `Authorization: Bearer`, with GET alone.
    access_token: String,
    /// How the access token is sent.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until it expires. It can't be refreshed.
    #[schema(example = 900)]
    expires_in: i64,
}

/// See what a client sees: an access token for its login that may only look. It ends after 15 minutes, and with the caller's
/// own session and role. Administrators can't be impersonated.
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/impersonate",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = Reason,
    responses((status = 200, description = "The token", body = Impersonation))
)]
pub(crate) async fn impersonate_client(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    JsonBody(Reason { reason }): JsonBody<Reason>,
) -> Answer<Impersonation> {
    let session = operator.session.ok_or(Problem::Forbidden)?;
    let client = one::find(&shared, AccountId::new(id)).await?;
    let (user, _) = client.login.ok_or(Problem::NotFound("client's login"))?;
    let now = shared.now();
    let mut audit = audited::entry(&operator, address, "client.impersonate", id, now);
    audit.reason = Some(audited::reason(&reason)?);
    let new = NewImpersonation {
        id: random_id().map(SessionId::new).map_err(unmade)?,
        account: client.account,
        session,
        expires_at: now.plus_seconds(ACCESS_TOKEN_SECONDS),
        audit,
    };
    shared.store.impersonate(&new).await?;
    let claims = AccessClaims {
        user: user.get(),
        session: new.id.get(),
    };
    let signed = shared.tokens.sign(claims, shared.now_seconds());
    Ok(Json(Impersonation {
        access_token: signed.map_err(unmade)?,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_SECONDS,
    }))
}

fn unmade(error: impl std::error::Error) -> Problem {
    tracing::error!(%error, "no token could be made");
    Problem::Internal
}
