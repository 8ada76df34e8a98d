//! Who calls. A gate stands before each group of routes and lets in only whom the group is for; handlers take the caller from
//! it. A handler behind no gate that asks for a caller gets none.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use airouter_auth::{AccessTokenError, OpaqueKind, OpaqueToken};
use airouter_billing::{AccountId, SessionId, UserId};
use airouter_store::clients::Role;
use airouter_store::logins::Login;
use airouter_store::operator_tokens::{OperatorToken, Scope};
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::problem::Problem;
use crate::shared::Shared;

/// Somebody who has logged in, of whatever role.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Arc<Login>);

/// The operator: an administrator, or a script with an operator token.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    /// The login in whose name it is done.
    pub(crate) user: UserId,
    /// The session, if it is no script.
    pub(crate) session: Option<SessionId>,
    /// That login's own account.
    pub(crate) account: AccountId,
    /// That login's e-mail address.
    pub(crate) email: String,
    /// Who does it, as the ledger and the audit log say it.
    pub(crate) actor: String,
}

impl From<Login> for Operator {
    fn from(login: Login) -> Self {
        Self {
            user: login.user,
            session: Some(login.session),
            account: login.account,
            actor: login.email.clone(),
            email: login.email,
        }
    }
}

impl From<OperatorToken> for Operator {
    fn from(token: OperatorToken) -> Self {
        Self {
            user: token.maker,
            session: None,
            account: token.account,
            actor: format!("{} (token {})", token.email, token.name),
            email: token.email,
        }
    }
}

/// From where a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// Lets in everybody.
pub(crate) async fn everybody(
    State(shared): State<Arc<Shared>>,
    ClientAddress(address): ClientAddress,
    request: Request,
    next: Next,
) -> Response {
    match shared.rates.of_address(address, shared.now()) {
        Ok(()) => next.run(request).await,
        Err(wait) => Problem::TooManyCalls(wait).into_response(),
    }
}

/// Lets in whoever has logged in. An administrator in a client's place may only look, whatever the route.
pub(crate) async fn logins_only(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    match authenticate(&shared, request.headers()).await {
        Ok(login) if login.impersonated_by.is_some() && !request.method().is_safe() => {
            Problem::OnlyLooking.into_response()
        }
        Ok(login) => {
            request.extensions_mut().insert(Caller(Arc::new(login)));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Lets in administrators, and operator tokens with this scope.
pub(crate) async fn operators_only(
    State((shared, scope)): State<(Arc<Shared>, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    let presented = bearer(request.headers()).filter(|text| OpaqueKind::Operator.claims(text));
    let Some(presented) = presented else {
        return admins_only(State(shared), request, next).await;
    };
    match operator_token(&shared, presented).await {
        Ok(token) if token.scopes.allow(scope) => {
            request.extensions_mut().insert(Operator::from(token));
            next.run(request).await
        }
        Ok(_) => Problem::ScopeMissing(scope.name()).into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn count(shared: &Shared, user: UserId) -> Result<(), Problem> {
    let counted = shared.rates.of_login(user, shared.now());
    counted.map_err(Problem::TooManyCalls)
}

async fn operator_token(shared: &Shared, presented: &str) -> Result<OperatorToken, Problem> {
    let token =
        OpaqueToken::parse(OpaqueKind::Operator, presented).map_err(|_| Problem::InvalidToken)?;
    let token = shared
        .store
        .operator_token(&token.hash(), shared.now())
        .await?
        .ok_or(Problem::InvalidToken)?;
    count(shared, token.maker)?;
    Ok(token)
}

/// Lets in administrators who have logged in.
pub(crate) async fn admins_only(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    match authenticate(&shared, request.headers()).await {
        Ok(login) if login.role == Role::Admin && login.impersonated_by.is_none() => {
            request.extensions_mut().insert(Operator::from(login));
            next.run(request).await
        }
        Ok(_) => Problem::Forbidden.into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// The login whose access token came. What it may do is read anew each time, so that what has changed acts at once.
async fn authenticate(shared: &Shared, headers: &HeaderMap) -> Result<Login, Problem> {
    let token = bearer(headers).ok_or(Problem::MissingToken)?;
    let claims =
        shared
            .tokens
            .verify(token, shared.now_seconds())
            .map_err(|error| match error {
                AccessTokenError::Expired => Problem::ExpiredToken,
                AccessTokenError::Invalid => Problem::InvalidToken,
            })?;
    // Before the database is asked.
    count(shared, UserId::new(claims.user))?;
    shared
        .store
        .login(SessionId::new(claims.session), shared.now())
        .await?
        .filter(|login| login.user.get() == claims.user)
        .ok_or(Problem::InvalidToken)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or(Problem::MissingToken)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or(Problem::MissingToken)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let nowhere = Self(Ipv4Addr::UNSPECIFIED.into());
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(nowhere))
    }
}
