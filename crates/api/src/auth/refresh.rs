//! `POST /v1/auth/refresh`.

use std::sync::Arc;

use airouter_auth::RefreshToken;
use airouter_billing::SessionId;
use airouter_store::logins::{Refresh, Refreshed};
use axum::extract::State;
use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::tokens::{self, Keeper, Tokens, TokensAnswer};
use crate::body::{JsonBody, optional_secret};
use crate::cookies::{self, FORGERY_HEADER};
use crate::problem::Problem;
use crate::shared::Shared;

/// What a session goes on with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    /// The refresh token; without it the one of the cookie is taken, with the header `x-csrf-token`.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 200, example = "air-rt-0123456789abcdef")]
    refresh_token: Option<SecretString>,
}

/// Exchange a refresh token for new tokens.
///
/// Each refresh token is good for once. One that comes a second time ends the session: somebody else may have it.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    tag = "auth",
    request_body = RefreshRequest,
    responses((status = 200, description = "The next tokens of the session", body = Tokens))
)]
pub(crate) async fn refresh(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<RefreshRequest>,
) -> TokensAnswer {
    let (presented, keeper) = match &request.refresh_token {
        Some(text) => (parse(text.expose_secret())?, Keeper::Script),
        None => (from_cookie(&shared, &headers)?, Keeper::Browser),
    };
    let session = SessionId::new(presented.session());
    let next = tokens::new_refresh_token(session)?;
    let now = shared.now();
    let refresh = Refresh {
        session,
        presented: presented.hash(),
        next: next.hash(),
        expires_at: tokens::session_end(now),
        at: now,
    };
    match shared.store.refresh_session(&refresh).await? {
        Refreshed::Yes(login) => tokens::answer(&shared, &login, &next, keeper),
        Refreshed::Reused => {
            tracing::warn!(%session, "a refresh token came a second time: its session was ended");
            Err(Problem::InvalidRefreshToken)
        }
        Refreshed::No => Err(Problem::InvalidRefreshToken),
    }
}

fn parse(text: &str) -> Result<RefreshToken, Problem> {
    RefreshToken::parse(text).map_err(|_| Problem::InvalidRefreshToken)
}

/// The token of a cookie, if a page of ours sent it: only that can read what the header repeats.
fn from_cookie(shared: &Shared, headers: &HeaderMap) -> Result<RefreshToken, Problem> {
    let token = parse(cookies::refresh_token(headers).ok_or(Problem::InvalidRefreshToken)?)?;
    let is_ours = headers
        .get(FORGERY_HEADER)
        .and_then(|proof| proof.to_str().ok())
        .is_some_and(|proof| shared.tokens.is_forgery_proof(token.session(), proof));
    if is_ours {
        Ok(token)
    } else {
        Err(Problem::ForgeryProofMissing)
    }
}
