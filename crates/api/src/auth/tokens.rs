//! What a login gets, and gets anew when it refreshes.

use std::net::IpAddr;

use airouter_auth::{
    ACCESS_TOKEN_SECONDS, AccessClaims, PasswordHash, REFRESH_TOKEN_SECONDS, RefreshToken,
    random_id,
};
use airouter_billing::{SessionId, Timestamp, UserId};
use airouter_store::logins::{Login, NewSession};
use axum::Json;
use http::HeaderMap;
use http::header::USER_AGENT;
use serde::Serialize;
use utoipa::ToSchema;

use super::user::User;
use crate::cookies;
use crate::problem::Problem;
use crate::shared::Shared;

/// Of a browser's description of itself, so many characters are kept.
const LONGEST_USER_AGENT: usize = 200;

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// To be sent as `Authorization: Bearer`.
    access_token: String,
    /// For `POST /v1/auth/refresh`, once; it is in a cookie instead if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    refresh_token: Option<String>,
    /// How the access token is sent.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    expires_in: i64,
    /// Who has logged in.
    user: User,
}

/// Where a client keeps its refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// A script does, itself.
    Script,
    /// A browser does, as a cookie.
    Browser,
}

/// Tokens, and headers that set cookies.
pub(super) type TokensAnswer = Result<(HeaderMap, Json<Tokens>), Problem>;

/// When a session ends that is started or refreshed now.
pub(super) const fn session_end(now: Timestamp) -> Timestamp {
    now.plus_seconds(REFRESH_TOKEN_SECONDS)
}

fn new_session() -> Result<SessionId, Problem> {
    random_id().map(SessionId::new).map_err(|error| {
        tracing::error!(%error, "no session could be made");
        Problem::Internal
    })
}

pub(super) fn new_refresh_token(session: SessionId) -> Result<RefreshToken, Problem> {
    RefreshToken::generate(session.get()).map_err(|error| {
        tracing::error!(%error, "no refresh token could be made");
        Problem::Internal
    })
}

/// How somebody has proved who it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof<'a> {
    /// By the password of this hash.
    Password(&'a PasswordHash),
    /// At a provider of logins.
    Provider,
}

/// Starts a session of a user who has just proved who it is. [`Problem::NotFound`] when it is disabled by now, or has another
/// password.
pub(super) async fn start_session(
    shared: &Shared,
    user: UserId,
    proof: Proof<'_>,
    address: IpAddr,
    headers: &HeaderMap,
) -> Result<(Login, RefreshToken), Problem> {
    let session = new_session()?;
    let refresh = new_refresh_token(session)?;
    let now = shared.now();
    let password_hash = match proof {
        Proof::Password(hash) => Some(hash.as_str().to_owned()),
        Proof::Provider => None,
    };
    let new = NewSession {
        id: session,
        user,
        password_hash,
        refresh: refresh.hash(),
        expires_at: session_end(now),
        address: Some(address.to_string()),
        user_agent: user_agent(headers),
        at: now,
    };
    Ok((shared.store.start_session(&new).await?, refresh))
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(LONGEST_USER_AGENT).collect())
}

/// The answer to a login or a refresh.
pub(super) fn answer(
    shared: &Shared,
    login: &Login,
    refresh: &RefreshToken,
    keeper: Keeper,
) -> TokensAnswer {
    let session = login.session.get();
    let claims = AccessClaims {
        user: login.user.get(),
        session,
    };
    let access_token = shared
        .tokens
        .sign(claims, shared.now_seconds())
        .map_err(|error| {
            tracing::error!(%error, "no access token could be made");
            Problem::Internal
        })?;
    let (headers, refresh_token) = match keeper {
        Keeper::Script => (HeaderMap::new(), Some(refresh.expose().to_owned())),
        Keeper::Browser => {
            let proof = shared.tokens.forgery_proof(session);
            (cookies::set(refresh, &proof)?, None)
        }
    };
    let tokens = Tokens {
        access_token,
        refresh_token,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_SECONDS,
        user: login.into(),
    };
    Ok((headers, Json(tokens)))
}
