//! `GET` and `POST /v1/auth/oidc/login`.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use axum::Json;
use axum::extract::State;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::note::{Authorization, Purpose, begun};
use crate::body::{JsonBody, Params, optional_secret};
use crate::problem::Problem;
use crate::shared::Shared;

/// How a link begins a login.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LoginLink {
    /// The path of this origin to which the browser returns with its session.
    #[param(example = "/account", max_length = 512)]
    return_to: Option<String>,
}

/// How a page begins a login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginStart {
    /// The path of this origin to which the browser returns with its session.
    #[schema(example = "/account", max_length = 512)]
    return_to: Option<String>,
    /// The code of an invitation, where one is needed to register.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 200)]
    invitation: Option<SecretString>,
}

/// Log in at the provider: a link for browsers.
#[utoipa::path(
    get,
    path = "/v1/auth/oidc/login",
    tag = "auth",
    params(LoginLink),
    responses((
        status = 303, description = "To the provider's page",
        headers(("Location" = String, description = "The provider's page"))
    ))
)]
pub(crate) async fn go_to_provider(
    State(shared): State<Arc<Shared>>,
    Params(link): Params<LoginLink>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let provider = shared.login_provider()?;
    let purpose = Purpose::LogIn { invitation: None };
    let (mut headers, authorization) =
        begun(&shared, provider, purpose, link.return_to.as_deref()).await?;
    let location = HeaderValue::from_str(&authorization.authorization_url)
        .map_err(|_| Problem::ProviderNotReliable)?;
    headers.insert(LOCATION, location);
    Ok((StatusCode::SEE_OTHER, headers))
}

/// Log in at the provider: for pages, which send the browser there themselves.
#[utoipa::path(
    post,
    path = "/v1/auth/oidc/login",
    tag = "auth",
    request_body = LoginStart,
    responses((status = 200, description = "Where to send the browser", body = Authorization))
)]
pub(crate) async fn begin_login(
    State(shared): State<Arc<Shared>>,
    JsonBody(start): JsonBody<LoginStart>,
) -> Result<(HeaderMap, Json<Authorization>), Problem> {
    let provider = shared.login_provider()?;
    let invitation = start
        .invitation
        .map(|code| {
            OpaqueToken::parse(OpaqueKind::Invitation, code.expose_secret())
                .map(|code| code.hash())
                .map_err(|_| Problem::InvitationNeeded)
        })
        .transpose()?;
    let purpose = Purpose::LogIn { invitation };
    let (headers, authorization) =
        begun(&shared, provider, purpose, start.return_to.as_deref()).await?;
    Ok((headers, Json(authorization)))
}
