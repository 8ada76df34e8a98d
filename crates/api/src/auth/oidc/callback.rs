//! `GET /v1/auth/oidc/callback`.

use std::net::IpAddr;
use std::sync::Arc;

use airouter_auth::TokenHash;
use airouter_billing::event::Payment;
use airouter_billing::{AccountId, SessionId, UserId};
use airouter_oidc::{Callback, Identity};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::{NewPerson, RequestLimits, Role};
use airouter_store::identities::{LinkGround, NewIdentity};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::decision::{Decision, decide};
use super::note::{self, Purpose};
use crate::attempts::Attempt;
use crate::auth::tokens::{self, Keeper, Tokens};
use crate::body::Params;
use crate::caller::ClientAddress;
use crate::names;
use crate::problem::Problem;
use crate::registration::RegistrationMode;
use crate::shared::Shared;

/// What the provider sends a browser back with. It may add more.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Returned {
    /// Ties it to the attempt.
    #[param(max_length = 100)]
    state: Option<String>,
    /// To be exchanged, once.
    #[param(max_length = 4096)]
    code: Option<String>,
    /// Why there is none.
    #[param(example = "access_denied")]
    error: Option<String>,
    /// Who sends it.
    iss: Option<String>,
}

/// Where the provider sends browsers back to.
///
/// Ends with a session, whose refresh token is in a cookie as after a login with `"cookie": true`; or, if that was begun with
/// `POST /v1/auth/identities`, with an identity more. The browser goes on to `return_to`; without it the tokens are the
/// answer.
#[utoipa::path(
    get,
    path = "/v1/auth/oidc/callback",
    tag = "auth",
    params(Returned),
    responses(
        (status = 200, description = "The tokens of a new session", body = Tokens),
        (status = 204, description = "The identity is linked"),
        (status = 303, description = "Done: back to where it began",
            headers(("Location" = String, description = "The path that the attempt began with")))
    )
)]
pub(crate) async fn come_back(
    State(shared): State<Arc<Shared>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Params(returned): Params<Returned>,
) -> Response {
    let came_back = CameBack {
        shared: &shared,
        address,
        headers: &headers,
    };
    let mut response = came_back
        .finish(&returned)
        .await
        .unwrap_or_else(Problem::into_response);
    // Whatever came of it, the attempt is over.
    note::forget(response.headers_mut());
    response
}

/// A browser that has come back.
struct CameBack<'a> {
    shared: &'a Shared,
    address: IpAddr,
    headers: &'a HeaderMap,
}

impl CameBack<'_> {
    async fn finish(&self, returned: &Returned) -> Result<Response, Problem> {
        let shared = self.shared;
        let provider = shared.login_provider()?;
        let state = returned.state.as_deref().unwrap_or_default();
        let note = note::read(shared, self.headers, state).ok_or(Problem::LoginNotBegun)?;
        if returned.error.is_some() {
            return Err(Problem::ProviderRefused);
        }
        let callback = Callback {
            code: returned.code.as_deref().ok_or(Problem::LoginNotBegun)?,
            issuer: returned.iss.as_deref(),
        };
        let identity = provider
            .client
            .identity(&note.attempt, callback, shared.now_seconds())
            .await?;
        let done = match note.purpose {
            Purpose::LogIn { invitation } => {
                let user = self.login_of(&identity, invitation.as_ref()).await?;
                self.start_session(user).await?
            }
            Purpose::Link { user, session } => {
                let (user, session) = (UserId::new(user), SessionId::new(session));
                self.link(user, session, &identity).await?;
                StatusCode::NO_CONTENT.into_response()
            }
        };
        Ok(match note.return_to {
            Some(path) => sent_on(done, &path)?,
            None => done,
        })
    }

    /// The login that this identity is, from now on at least.
    async fn login_of(
        &self,
        identity: &Identity,
        invitation: Option<&TokenHash>,
    ) -> Result<UserId, Problem> {
        let issuer = self.shared.login_provider()?.client.issuer();
        let known = self
            .shared
            .store
            .known_logins(issuer, &identity.subject, identity.email.as_deref())
            .await?;
        match decide(known, identity)? {
            Decision::LogIn(user) => Ok(user),
            Decision::Link(login) => {
                let new = self.new_identity(identity)?;
                let audit = self.entry(&login.email, login.user, login.account, &new);
                let ground = LinkGround::VerifiedEmail(&login.email);
                self.shared
                    .store
                    .link_identity(login.user, &new, ground, &audit)
                    .await
                    .map_err(taken)?;
                Ok(login.user)
            }
            Decision::Register(email) => self.register(email, identity, invitation).await,
        }
    }

    async fn register(
        &self,
        email: String,
        identity: &Identity,
        invitation: Option<&TokenHash>,
    ) -> Result<UserId, Problem> {
        let shared = self.shared;
        let invitation = match shared.registration {
            RegistrationMode::Open => None,
            RegistrationMode::Invitation => Some(invitation.ok_or(Problem::InvitationNeeded)?),
            RegistrationMode::Closed => return Err(Problem::RegistrationClosed),
        };
        let attempt = Attempt::Register { from: self.address };
        shared.count(&attempt).await?;
        let name = identity.name.as_deref().and_then(names::name);
        let person = NewPerson {
            user: UserId::new(Uuid::now_v7()),
            account: AccountId::new(Uuid::now_v7()),
            name: name.unwrap_or_else(|| email.clone()),
            email,
            password_hash: None,
            role: Role::Client,
            locale: None,
            utm_source: None,
            signup_address: Some(self.address.to_string()),
            payment: Payment::Prepaid,
            tier: None,
            caps: Vec::new(),
            limits: RequestLimits::default(),
            at: shared.now(),
        };
        let new = self.new_identity(identity)?;
        let audit = self.entry(&person.email, person.user, person.account, &new);
        shared
            .store
            .register_identity(&person, &new, invitation, &audit)
            .await
            .map_err(|error| match error {
                StoreError::Exists { .. } => Problem::Exists("a login with this e-mail address"),
                StoreError::NotFound {
                    what: "the invitation",
                } => Problem::InvitationNeeded,
                error => error.into(),
            })?;
        Ok(person.user)
    }

    /// Links the identity to the login that has begun it, if its session still goes on.
    async fn link(
        &self,
        user: UserId,
        session: SessionId,
        identity: &Identity,
    ) -> Result<(), Problem> {
        let login = self
            .shared
            .store
            .login(session, self.shared.now())
            .await?
            .filter(|login| login.user == user)
            .ok_or(Problem::InvalidToken)?;
        let new = self.new_identity(identity)?;
        let audit = self.entry(&login.email, user, login.account, &new);
        self.shared
            .store
            .link_identity(user, &new, LinkGround::Session, &audit)
            .await
            .map_err(taken)
    }

    async fn start_session(&self, user: UserId) -> Result<Response, Problem> {
        let (login, refresh) = tokens::start_session(
            self.shared,
            user,
            tokens::Proof::Provider,
            self.address,
            self.headers,
        )
        .await
        .map_err(|problem| match problem {
            // Disabled in this very moment.
            Problem::NotFound(_) => Problem::LoginDisabled,
            problem => problem,
        })?;
        let answer = tokens::answer(self.shared, &login, &refresh, Keeper::Browser)?;
        Ok(answer.into_response())
    }

    fn new_identity(&self, identity: &Identity) -> Result<NewIdentity, Problem> {
        Ok(NewIdentity {
            id: Uuid::now_v7(),
            issuer: self.shared.login_provider()?.client.issuer().to_owned(),
            subject: identity.subject.clone(),
            email: identity.email.as_deref().and_then(names::email),
            at: self.shared.now(),
        })
    }

    fn entry(
        &self,
        email: &str,
        user: UserId,
        account: AccountId,
        identity: &NewIdentity,
    ) -> AuditEntry {
        let told = serde_json::json!({ "issuer": identity.issuer, "subject": identity.subject });
        AuditEntry {
            actor_id: Some(user),
            address: Some(self.address.to_string()),
            after: Some(told.to_string()),
            ..AuditEntry::new(email, "identity.link", account.get(), identity.at)
        }
    }
}

/// The same, with the browser sent on to a path of this origin, and nothing to read.
fn sent_on(done: Response, path: &str) -> Result<Response, Problem> {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let cookies = done.headers().get_all(http::header::SET_COOKIE).iter();
    for cookie in cookies {
        response
            .headers_mut()
            .append(http::header::SET_COOKIE, cookie.clone());
    }
    let location = HeaderValue::from_str(path).map_err(|_| Problem::Internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn taken(error: StoreError) -> Problem {
    match error {
        StoreError::Exists { .. } => Problem::IdentityTaken,
        // Its address is not proved any more, or it was disabled in this very moment.
        StoreError::NotFound { .. } => Problem::LinkFirst,
        error => error.into(),
    }
}
