//! `POST /v1/auth/login`.

use std::sync::Arc;

use airouter_auth::PasswordHash;
use airouter_billing::UserId;
use airouter_store::logins::Credentials;
use axum::extract::State;
use http::HeaderMap;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::second_factor;
use super::tokens::{self, Keeper, Tokens, TokensAnswer};
use crate::attempts::Attempt;
use crate::body::{JsonBody, optional_secret, secret};
use crate::caller::ClientAddress;
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    /// The e-mail address.
    #[schema(example = "ann@example.com", max_length = 254)]
    email: String,
    /// The password.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, format = Password, max_length = 1024, example = "correct horse battery")]
    password: SecretString,
    /// What the authenticator shows, or a recovery code, where the login has a second factor.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, example = "123456")]
    code: Option<SecretString>,
    /// For browsers: the refresh token comes as a cookie that scripts can't read, not in the answer.
    #[serde(default)]
    cookie: bool,
}

/// Log in with a password, and a code where the login has a second factor.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "auth",
    request_body = LoginRequest,
    responses((status = 200, description = "The tokens of a new session", body = Tokens))
)]
pub(crate) async fn login(
    State(shared): State<Arc<Shared>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    JsonBody(request): JsonBody<LoginRequest>,
) -> TokensAnswer {
    let email = names::email(&request.email).ok_or(Problem::WrongCredentials)?;
    let attempt = Attempt::LogIn {
        email: &email,
        from: address,
    };
    shared.count(&attempt).await?;
    let (user, password) = authenticate(&shared, &email, request.password).await?;
    // Until all is proved, the attempt counts: the password alone buys nobody more guesses of codes.
    second_factor::prove_at_login(&shared, &email, user, request.code.as_ref(), address).await?;
    shared.succeeded(&attempt).await;
    let proof = tokens::Proof::Password(&password);
    let (login, refresh) = tokens::start_session(&shared, user, proof, address, &headers)
        .await
        .map_err(|problem| match problem {
            // Disabled, or with another password, since this very moment.
            Problem::NotFound(_) => Problem::WrongCredentials,
            problem => problem,
        })?;
    let keeper = if request.cookie {
        Keeper::Browser
    } else {
        Keeper::Script
    };
    tokens::answer(&shared, &login, &refresh, keeper)
}

/// The user with these credentials, and the password's hash. Whatever is wrong, the same work is done and the same is said.
async fn authenticate(
    shared: &Shared,
    email: &str,
    password: SecretString,
) -> Result<(UserId, PasswordHash), Problem> {
    let found = shared.store.credentials(email).await?;
    let hash = found.as_ref().and_then(stored_hash);
    let is_right = shared
        .passwords
        .is_right(password.clone(), hash.clone())
        .await?;
    let (Some(credentials), Some(hash), true) = (found, hash, is_right) else {
        return Err(Problem::WrongCredentials);
    };
    let user = credentials.user;
    if hash.is_outdated() {
        return Ok((user, upgraded(shared, user, email, password, &hash).await?));
    }
    Ok((user, hash))
}

/// The hash that is stored when the password's has been replaced by one of these days.
async fn upgraded(
    shared: &Shared,
    user: UserId,
    email: &str,
    password: SecretString,
    old: &PasswordHash,
) -> Result<PasswordHash, Problem> {
    let new = shared.passwords.hash(password.clone()).await?;
    shared
        .store
        .upgrade_password_hash(user, old.as_str(), new.as_str())
        .await?;
    let stored = shared.store.credentials(email).await?;
    let stored = stored.as_ref().and_then(stored_hash);
    match stored {
        Some(stored) if stored == new => Ok(new),
        // Another login was quicker, or the password was changed.
        stored => {
            let is_right = shared.passwords.is_right(password, stored.clone()).await?;
            stored.filter(|_| is_right).ok_or(Problem::WrongCredentials)
        }
    }
}

/// The hash of a user who may log in.
pub(super) fn stored_hash(credentials: &Credentials) -> Option<PasswordHash> {
    let text = credentials
        .password_hash
        .as_deref()
        .filter(|_| credentials.is_active)?;
    PasswordHash::parse(text)
        .inspect_err(
            |error| tracing::error!(user = %credentials.user, %error, "a login can't be used"),
        )
        .ok()
}
