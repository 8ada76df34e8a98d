//! `POST /v1/auth/register`.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken, TokenHash};
use airouter_billing::event::Payment;
use airouter_billing::{AccountId, UserId};
use airouter_store::StoreError;
use airouter_store::clients::{NewPerson, RequestLimits, Role};
use airouter_store::mailed_tokens::MailedKind;
use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::user::User;
use super::{links, new_password};
use crate::answer::{Created, created};
use crate::attempts::Attempt;
use crate::body::{JsonBody, optional_secret, secret};
use crate::caller::ClientAddress;
use crate::names;
use crate::problem::Problem;
use crate::registration::RegistrationMode;
use crate::shared::Shared;
use crate::values::{Id, Time};

/// A new login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// The e-mail address, by which the login is known.
    #[schema(example = "ann@example.com", max_length = 254)]
    email: String,
    /// At least 8 characters.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 1024, example = "correct horse battery")]
    password: SecretString,
    /// The name to show.
    #[schema(example = "Ann", min_length = 1, max_length = 200)]
    name: String,
    /// The code of an invitation, where one is needed.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 200)]
    invitation: Option<SecretString>,
}

/// The invitation that is used up; none where everybody may register, even if one came.
fn invitation(
    mode: RegistrationMode,
    code: Option<&SecretString>,
) -> Result<Option<TokenHash>, Problem> {
    match mode {
        RegistrationMode::Open => Ok(None),
        RegistrationMode::Closed => Err(Problem::RegistrationClosed),
        RegistrationMode::Invitation => code
            .and_then(|code| OpaqueToken::parse(OpaqueKind::Invitation, code.expose_secret()).ok())
            .map(|code| Some(code.hash()))
            .ok_or(Problem::InvitationNeeded),
    }
}

/// Create a login with a prepaid account at 0.
///
/// It can be used at once; a link that proves the e-mail address is mailed to it. A key comes from `POST /v1/auth/api-keys`.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    tag = "auth",
    request_body = Registration,
    responses((status = 201, description = "The login", body = User))
)]
pub(crate) async fn register(
    State(shared): State<Arc<Shared>>,
    ClientAddress(address): ClientAddress,
    JsonBody(registration): JsonBody<Registration>,
) -> Created<User> {
    let invitation = invitation(shared.registration, registration.invitation.as_ref())?;
    let email = names::email(&registration.email).ok_or(Problem::Invalid {
        field: "email",
        expected: "an e-mail address",
    })?;
    let name = names::name(&registration.name).ok_or(Problem::Invalid {
        field: "name",
        expected: "one line of at most 200 bytes",
    })?;
    new_password::check(&registration.password)?;
    let now = shared.now();
    shared.count(&Attempt::Register { from: address }).await?;
    let hash = shared.passwords.hash(registration.password).await?;
    let person = NewPerson {
        user: UserId::new(Uuid::now_v7()),
        account: AccountId::new(Uuid::now_v7()),
        email,
        name,
        password_hash: Some(hash.as_str().to_owned()),
        role: Role::Client,
        locale: None,
        utm_source: None,
        signup_address: Some(address.to_string()),
        payment: Payment::Prepaid,
        tier: None,
        caps: Vec::new(),
        limits: RequestLimits::default(),
        at: now,
    };
    let registered = match &invitation {
        Some(code) => shared.store.register_invited(&person, code).await,
        None => shared.store.create_person(&person).await,
    };
    registered.map_err(|error| match error {
        StoreError::Exists { .. } => Problem::Exists("a login with this e-mail address"),
        StoreError::NotFound {
            what: "the invitation",
        } => Problem::InvitationNeeded,
        error => error.into(),
    })?;
    // The login is there; who gets no link can ask for another one.
    if let Err(problem) = links::mail(&shared, &person.email, MailedKind::VerifyEmail).await {
        tracing::warn!(?problem, user = %person.user, "no link to verify an e-mail address was sent");
    }
    created(User {
        id: Id(person.user.get()),
        email: person.email,
        email_verified: false,
        name: person.name,
        role: person.role.name(),
        account_id: Id(person.account.get()),
        mode: person.payment.name(),
        created_at: Time(now),
        impersonated_by: None,
    })
}
