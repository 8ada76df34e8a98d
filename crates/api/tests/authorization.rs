//! Who may call what: every route, as the router lists them, by every kind of caller.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use std::collections::BTreeSet;

use airouter_api::Api;
use airouter_auth::{AccessClaims, TotpSecret};
use airouter_billing::SessionId;
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::Role;
use airouter_store::conformance::World as Books;
use airouter_store::logins::SessionEnd;
use airouter_store::mailed_tokens::MailedKind;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use support::{PASSWORD, Somebody, World, token_keys};
use uuid::Uuid;

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Everybody,
    Logins,
    /// Administrators, and operator tokens with this scope.
    Operators(&'static str),
    Admins,
    /// The owners of the organization that the path names.
    Owners,
    /// Its members.
    Members,
}

/// What a path's `{id}` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    None,
    /// A key of the client's.
    Key,
    /// A session of the client's.
    Session,
    /// An identity of the client's at a provider.
    Identity,
    /// Some account.
    Account,
    /// Some account whose login has a second factor.
    ProtectedAccount,
    /// A request of the client's.
    Request,
    /// An account, and one of its keys as `{key_id}`.
    ClientKey,
    /// The organization.
    Organization,
    /// The organization and one of its members, one of its keys, or an invitation to it.
    Member,
    OrganizationKey,
    MemberInvitation,
    /// An invitation.
    Invitation,
    /// An operator token.
    OperatorToken,
    /// A master account at a compatible server.
    MasterAccount,
    /// A key of such an account.
    MasterKey,
    /// A model.
    Model,
    /// A model, in the query.
    OfModel,
    /// An alias.
    Alias,
    /// A price plan.
    Plan,
    /// A version of one that is to come.
    Scheduled,
    /// A tier.
    Tier,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
enum Body {
    None,
    Registration,
    Credentials,
    RefreshToken,
    EmailVerification,
    Email,
    PasswordReset,
    Passwords,
    Password,
    FirstCode,
    PasswordAndCode,
    Name,
    Amount,
    Reason,
    Settings,
    KeyChange,
    MemberChange,
    Invitation,
    Acceptance,
    Empty,
    OperatorToken,
    MasterAccount,
    MasterKey,
    Weight,
    SaleState,
    DefaultModel,
    Models,
    Plan,
    Terms,
    FutureTerms,
    MonthlyLimit,
}

struct Row {
    route: &'static str,
    whom: For,
    object: Object,
    body: Body,
    /// What the right caller gets.
    status: u16,
}

const fn row(route: &'static str, whom: For, object: Object, body: Body, status: u16) -> Row {
    Row {
        route,
        whom,
        object,
        body,
        status,
    }
}

const TABLE: &[Row] = &[
    row(
        "GET /v1/organizations/{id}/usage",
        For::Members,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/usage/daily",
        For::Members,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/models/usage",
        For::Members,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/keys/usage",
        For::Members,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/members/usage",
        For::Members,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/recent-requests",
        For::Members,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/clients/{id}/erase",
        For::Admins,
        Object::Account,
        Body::Reason,
        204,
    ),
    row(
        "POST /v1/admin/clients/{id}/impersonate",
        For::Admins,
        Object::Account,
        Body::Reason,
        200,
    ),
    row(
        "GET /openapi.json",
        For::Everybody,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/auth/register",
        For::Everybody,
        Object::None,
        Body::Registration,
        201,
    ),
    row(
        "POST /v1/auth/login",
        For::Everybody,
        Object::None,
        Body::Credentials,
        200,
    ),
    row(
        "POST /v1/auth/refresh",
        For::Everybody,
        Object::None,
        Body::RefreshToken,
        200,
    ),
    // Where there is no provider of logins.
    row(
        "GET /v1/auth/oidc",
        For::Everybody,
        Object::None,
        Body::None,
        404,
    ),
    row(
        "GET /v1/auth/oidc/login",
        For::Everybody,
        Object::None,
        Body::None,
        404,
    ),
    row(
        "POST /v1/auth/oidc/login",
        For::Everybody,
        Object::None,
        Body::Empty,
        404,
    ),
    row(
        "GET /v1/auth/oidc/callback",
        For::Everybody,
        Object::None,
        Body::None,
        404,
    ),
    row(
        "GET /v1/auth/identities",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/auth/identities",
        For::Logins,
        Object::None,
        Body::Empty,
        404,
    ),
    row(
        "DELETE /v1/auth/identities/{id}",
        For::Logins,
        Object::Identity,
        Body::None,
        204,
    ),
    row(
        "POST /v1/auth/verify-email",
        For::Everybody,
        Object::None,
        Body::EmailVerification,
        204,
    ),
    row(
        "POST /v1/auth/verify-email/resend",
        For::Logins,
        Object::None,
        Body::None,
        202,
    ),
    row(
        "POST /v1/auth/password-reset",
        For::Everybody,
        Object::None,
        Body::Email,
        202,
    ),
    row(
        "POST /v1/auth/password-reset/confirm",
        For::Everybody,
        Object::None,
        Body::PasswordReset,
        204,
    ),
    row(
        "POST /v1/auth/password",
        For::Logins,
        Object::None,
        Body::Passwords,
        204,
    ),
    row(
        "GET /v1/auth/second-factor",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/auth/second-factor",
        For::Logins,
        Object::None,
        Body::Password,
        201,
    ),
    row(
        "POST /v1/auth/second-factor/confirm",
        For::Logins,
        Object::None,
        Body::FirstCode,
        200,
    ),
    row(
        "POST /v1/auth/second-factor/recovery-codes",
        For::Logins,
        Object::None,
        Body::PasswordAndCode,
        200,
    ),
    row(
        "POST /v1/auth/second-factor/remove",
        For::Logins,
        Object::None,
        Body::PasswordAndCode,
        204,
    ),
    row(
        "POST /v1/admin/clients/{id}/remove-second-factor",
        For::Admins,
        Object::ProtectedAccount,
        Body::Reason,
        204,
    ),
    row(
        "POST /v1/auth/logout",
        For::Logins,
        Object::None,
        Body::None,
        204,
    ),
    row(
        "GET /v1/auth/me",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/auth/api-keys",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/auth/api-keys",
        For::Logins,
        Object::None,
        Body::Name,
        201,
    ),
    row(
        "GET /v1/auth/api-keys/{id}",
        For::Logins,
        Object::Key,
        Body::None,
        200,
    ),
    row(
        "PATCH /v1/auth/api-keys/{id}",
        For::Logins,
        Object::Key,
        Body::KeyChange,
        200,
    ),
    row(
        "DELETE /v1/auth/api-keys/{id}",
        For::Logins,
        Object::Key,
        Body::None,
        204,
    ),
    row(
        "GET /v1/admin/audit-log",
        For::Operators("audit:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/clients",
        For::Operators("clients:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/clients/{id}",
        For::Operators("clients:read"),
        Object::Account,
        Body::None,
        200,
    ),
    row(
        "PATCH /v1/admin/clients/{id}",
        For::Operators("clients:write"),
        Object::Account,
        Body::Settings,
        200,
    ),
    row(
        "POST /v1/admin/clients/{id}/credit",
        For::Operators("money:write"),
        Object::Account,
        Body::Amount,
        200,
    ),
    row(
        "POST /v1/admin/clients/{id}/debit",
        For::Operators("money:write"),
        Object::Account,
        Body::Amount,
        200,
    ),
    row(
        "POST /v1/admin/clients/{id}/disable",
        For::Operators("clients:write"),
        Object::Account,
        Body::Reason,
        200,
    ),
    row(
        "POST /v1/admin/clients/{id}/enable",
        For::Operators("clients:write"),
        Object::Account,
        Body::Reason,
        200,
    ),
    row(
        "GET /v1/admin/clients/{id}/api-keys",
        For::Operators("clients:read"),
        Object::Account,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/clients/{id}/api-keys",
        For::Operators("clients:write"),
        Object::Account,
        Body::Name,
        201,
    ),
    row(
        "GET /v1/admin/clients/{id}/api-keys/{key_id}",
        For::Operators("clients:read"),
        Object::ClientKey,
        Body::None,
        200,
    ),
    row(
        "PATCH /v1/admin/clients/{id}/api-keys/{key_id}",
        For::Operators("clients:write"),
        Object::ClientKey,
        Body::KeyChange,
        200,
    ),
    row(
        "DELETE /v1/admin/clients/{id}/api-keys/{key_id}",
        For::Operators("clients:write"),
        Object::ClientKey,
        Body::None,
        204,
    ),
    row(
        "GET /v1/admin/invitations",
        For::Operators("invitations"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/invitations",
        For::Operators("invitations"),
        Object::None,
        Body::Empty,
        201,
    ),
    row(
        "DELETE /v1/admin/invitations/{id}",
        For::Operators("invitations"),
        Object::Invitation,
        Body::None,
        204,
    ),
    row(
        "GET /v1/admin/operator-tokens",
        For::Admins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/operator-tokens",
        For::Admins,
        Object::None,
        Body::OperatorToken,
        201,
    ),
    row(
        "DELETE /v1/admin/operator-tokens/{id}",
        For::Admins,
        Object::OperatorToken,
        Body::None,
        204,
    ),
    row(
        "GET /v1/admin/master-accounts",
        For::Operators("inventory:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/master-accounts",
        For::Operators("inventory:write"),
        Object::None,
        Body::MasterAccount,
        201,
    ),
    row(
        "GET /v1/admin/master-accounts/{id}",
        For::Operators("inventory:read"),
        Object::MasterAccount,
        Body::None,
        200,
    ),
    row(
        "PATCH /v1/admin/master-accounts/{id}",
        For::Operators("inventory:write"),
        Object::MasterAccount,
        Body::Weight,
        200,
    ),
    row(
        "POST /v1/admin/master-accounts/{id}/keys",
        For::Operators("inventory:write"),
        Object::MasterAccount,
        Body::MasterKey,
        201,
    ),
    row(
        "DELETE /v1/admin/master-accounts/{id}/keys/{key_id}",
        For::Operators("inventory:write"),
        Object::MasterKey,
        Body::None,
        204,
    ),
    row(
        "POST /v1/admin/master-accounts/{id}/pause",
        For::Operators("inventory:write"),
        Object::MasterAccount,
        Body::Empty,
        200,
    ),
    row(
        "POST /v1/admin/master-accounts/{id}/drain",
        For::Operators("inventory:write"),
        Object::MasterAccount,
        Body::Empty,
        200,
    ),
    row(
        "POST /v1/admin/master-accounts/{id}/resume",
        For::Operators("inventory:write"),
        Object::MasterAccount,
        Body::Empty,
        200,
    ),
    row(
        "POST /v1/admin/master-accounts/{id}/test",
        For::Operators("inventory:write"),
        Object::MasterAccount,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/master-accounts/{id}/prices",
        For::Operators("inventory:read"),
        Object::MasterAccount,
        Body::None,
        200,
    ),
    row(
        "PUT /v1/admin/master-accounts/{id}/prices",
        For::Operators("inventory:write"),
        Object::MasterAccount,
        Body::Empty,
        200,
    ),
    row(
        "GET /v1/admin/models",
        For::Operators("inventory:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "PATCH /v1/admin/models/{id}",
        For::Operators("inventory:write"),
        Object::Model,
        Body::SaleState,
        200,
    ),
    row(
        "GET /v1/admin/default-model",
        For::Operators("inventory:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "PUT /v1/admin/default-model",
        For::Operators("inventory:write"),
        Object::None,
        Body::DefaultModel,
        200,
    ),
    row(
        "GET /v1/admin/aliases",
        For::Operators("inventory:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/aliases/{name}",
        For::Operators("inventory:read"),
        Object::Alias,
        Body::None,
        200,
    ),
    row(
        "PUT /v1/admin/aliases/{name}",
        For::Operators("inventory:write"),
        Object::Alias,
        Body::Models,
        200,
    ),
    row(
        "DELETE /v1/admin/aliases/{name}",
        For::Operators("inventory:write"),
        Object::Alias,
        Body::None,
        204,
    ),
    row(
        "GET /v1/admin/settings",
        For::Operators("inventory:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/prices",
        For::Operators("prices:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/prices/history",
        For::Operators("prices:read"),
        Object::OfModel,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/plans",
        For::Operators("prices:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/plans",
        For::Operators("prices:write"),
        Object::None,
        Body::Plan,
        201,
    ),
    row(
        "GET /v1/admin/plans/{name}",
        For::Operators("prices:read"),
        Object::Plan,
        Body::None,
        200,
    ),
    row(
        "PUT /v1/admin/plans/{name}",
        For::Operators("prices:write"),
        Object::Plan,
        Body::Terms,
        200,
    ),
    row(
        "GET /v1/admin/plans/{name}/versions",
        For::Operators("prices:read"),
        Object::Plan,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/plans/{name}/schedule",
        For::Operators("prices:read"),
        Object::Plan,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/plans/{name}/schedule",
        For::Operators("prices:write"),
        Object::Plan,
        Body::FutureTerms,
        201,
    ),
    row(
        "DELETE /v1/admin/plans/{name}/schedule/{id}",
        For::Operators("prices:write"),
        Object::Scheduled,
        Body::None,
        204,
    ),
    row(
        "GET /v1/admin/tiers",
        For::Operators("prices:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/tiers/{name}",
        For::Operators("prices:read"),
        Object::Tier,
        Body::None,
        200,
    ),
    row(
        "PUT /v1/admin/tiers/{name}",
        For::Operators("prices:write"),
        Object::Tier,
        Body::MonthlyLimit,
        200,
    ),
    row(
        "DELETE /v1/admin/tiers/{name}",
        For::Operators("prices:write"),
        Object::Tier,
        Body::None,
        204,
    ),
    row(
        "GET /v1/auth/sessions",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "DELETE /v1/auth/sessions/{id}",
        For::Logins,
        Object::Session,
        Body::None,
        204,
    ),
    row(
        "GET /v1/organizations",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "POST /v1/organizations",
        For::Logins,
        Object::None,
        Body::Name,
        201,
    ),
    row(
        "POST /v1/organizations/invitations/accept",
        For::Logins,
        Object::None,
        Body::Acceptance,
        200,
    ),
    row(
        "GET /v1/organizations/{id}",
        For::Members,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "PATCH /v1/organizations/{id}",
        For::Owners,
        Object::Organization,
        Body::Name,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/balance",
        For::Owners,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/api-keys",
        For::Owners,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "DELETE /v1/organizations/{id}/api-keys/{key_id}",
        For::Owners,
        Object::OrganizationKey,
        Body::None,
        204,
    ),
    row(
        "GET /v1/organizations/{id}/invitations",
        For::Owners,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "POST /v1/organizations/{id}/invitations",
        For::Owners,
        Object::Organization,
        Body::Invitation,
        201,
    ),
    row(
        "DELETE /v1/organizations/{id}/invitations/{invitation_id}",
        For::Owners,
        Object::MemberInvitation,
        Body::None,
        204,
    ),
    row(
        "GET /v1/organizations/{id}/members",
        For::Owners,
        Object::Organization,
        Body::None,
        200,
    ),
    row(
        "GET /v1/organizations/{id}/members/{member_id}",
        For::Owners,
        Object::Member,
        Body::None,
        200,
    ),
    row(
        "PATCH /v1/organizations/{id}/members/{member_id}",
        For::Owners,
        Object::Member,
        Body::MemberChange,
        200,
    ),
    row(
        "DELETE /v1/organizations/{id}/members/{member_id}",
        For::Owners,
        Object::Member,
        Body::None,
        204,
    ),
    row(
        "GET /v1/client/balance",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/client/recent-requests",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/client/requests/{id}",
        For::Logins,
        Object::Request,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/logs",
        For::Operators("logs:read"),
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/logs/{id}",
        For::Operators("logs:read"),
        Object::Request,
        Body::None,
        200,
    ),
    row(
        "POST /v1/admin/logs/{id}/refund",
        For::Operators("money:write"),
        Object::Request,
        Body::Reason,
        200,
    ),
    row(
        "GET /v1/client/usage",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/client/usage/daily",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/client/models/usage",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/client/keys/usage",
        For::Logins,
        Object::None,
        Body::None,
        200,
    ),
    row(
        "GET /v1/admin/stats",
        For::Operators("stats:read"),
        Object::None,
        Body::None,
        200,
    ),
];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    Garbage,
    ClientKey,
    Expired,
    WrongSignature,
    Unsigned,
    UnknownSession,
    OthersSession,
    EndedSession,
    /// Who owns the organization.
    Client,
    OtherClient,
    /// A member of the organization, no owner.
    Member,
    Admin,
    /// An administrator in the client's place.
    Impersonator,
    /// An operator token with all scopes.
    Token,
    /// One with all scopes but the one that is needed.
    TokenWithoutScope,
    RevokedToken,
    ExpiredToken,
}

const SCOPES: [&str; 11] = [
    "clients:read",
    "clients:write",
    "money:write",
    "logs:read",
    "audit:read",
    "invitations",
    "inventory:read",
    "inventory:write",
    "prices:read",
    "prices:write",
    "stats:read",
];

const CALLERS: [Caller; 18] = [
    Caller::Nobody,
    Caller::Garbage,
    Caller::ClientKey,
    Caller::Expired,
    Caller::WrongSignature,
    Caller::Unsigned,
    Caller::UnknownSession,
    Caller::OthersSession,
    Caller::EndedSession,
    Caller::Client,
    Caller::OtherClient,
    Caller::Member,
    Caller::Admin,
    Caller::Impersonator,
    Caller::Token,
    Caller::TokenWithoutScope,
    Caller::RevokedToken,
    Caller::ExpiredToken,
];

struct People {
    client: Somebody,
    other: Somebody,
    member: Somebody,
    admin: Somebody,
    /// Of which the client is the owner.
    organization: String,
    /// An operator token that holds no more.
    expired_token: String,
    books: Books,
}

async fn operator_token(world: &World, people: &People, scopes: &[&str]) -> String {
    let made = world.operator_token(&people.admin, scopes).await;
    made["token"].as_str().unwrap().to_owned()
}

impl Caller {
    async fn token(self, row: &Row, world: &World, people: &People) -> Option<String> {
        let sign = |claims, at| world.tokens.sign(claims, at).unwrap();
        let now = world.seconds();
        let claims = world.claims(&people.client).await;
        Some(match self {
            Self::Nobody => return None,
            Self::Garbage => "a.b.c".to_owned(),
            Self::ClientKey => airouter_auth::ClientKey::generate()
                .unwrap()
                .expose()
                .to_owned(),
            Self::Expired => sign(claims, now - 900),
            Self::WrongSignature => {
                let others = token_keys("/wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
                others.sign(claims, now).unwrap()
            }
            Self::Unsigned => unsigned(&sign(claims, now)),
            Self::UnknownSession => sign(
                AccessClaims {
                    session: Uuid::now_v7(),
                    ..claims
                },
                now,
            ),
            Self::OthersSession => sign(
                AccessClaims {
                    user: people.admin.user.get(),
                    ..claims
                },
                now,
            ),
            Self::EndedSession => {
                let session = SessionId::new(claims.session);
                let ended = world.store.end_session(
                    people.client.user,
                    session,
                    SessionEnd::Logout,
                    world.now(),
                );
                ended.await.unwrap();
                sign(claims, now)
            }
            Self::Client => sign(claims, now),
            Self::OtherClient => world.token(&people.other).await,
            Self::Member => world.token(&people.member).await,
            Self::Admin => world.token(&people.admin).await,
            Self::Impersonator => {
                world.pass(1);
                let account = people.client.account;
                let path = format!("/v1/admin/clients/{account}/impersonate");
                let why = json!({"reason": "a test"});
                let admin = world.token(&people.admin).await;
                let begun = world.call(&admin, "POST", &path, Some(&why)).await;
                text(&begun.json()["access_token"])
            }
            Self::Token => operator_token(world, people, &SCOPES).await,
            Self::TokenWithoutScope => {
                let is_other = |scope: &&'static str| row.whom != For::Operators(scope);
                let scopes: Vec<&str> = SCOPES.into_iter().filter(is_other).collect();
                operator_token(world, people, &scopes).await
            }
            Self::RevokedToken => {
                let made = world.operator_token(&people.admin, &SCOPES).await;
                let path = format!("/v1/admin/operator-tokens/{}", made["id"].as_str().unwrap());
                let admin = world.token(&people.admin).await;
                world.call(&admin, "DELETE", &path, None).await;
                made["token"].as_str().unwrap().to_owned()
            }
            Self::ExpiredToken => people.expired_token.clone(),
        })
    }

    /// The status and, of a problem, the code.
    fn expected(self, row: &Row) -> (u16, &'static str) {
        if row.whom == For::Everybody {
            return (row.status, "");
        }
        match self {
            Self::Nobody => (401, "missing_token"),
            Self::Expired => (401, "expired_token"),
            Self::Garbage
            | Self::ClientKey
            | Self::WrongSignature
            | Self::Unsigned
            | Self::UnknownSession
            | Self::OthersSession
            | Self::EndedSession => (401, "invalid_token"),
            Self::RevokedToken | Self::ExpiredToken => (401, "invalid_token"),
            // Tokens are for what has a scope; elsewhere they are no access tokens.
            Self::Token | Self::TokenWithoutScope if !matches!(row.whom, For::Operators(_)) => {
                (401, "invalid_token")
            }
            Self::TokenWithoutScope => (403, "missing_scope"),
            // As the client that it is in the place of, but only to look.
            Self::Impersonator if matches!(row.whom, For::Operators(_) | For::Admins) => {
                (403, "forbidden")
            }
            Self::Impersonator if !row.route.starts_with("GET ") => (403, "only_looking"),
            Self::Impersonator => (row.status, ""),
            Self::Member if row.whom == For::Owners => (403, "owners_only"),
            Self::OtherClient | Self::Admin if matches!(row.whom, For::Owners | For::Members) => {
                (404, "not_found")
            }
            Self::Client | Self::OtherClient | Self::Member
                if matches!(row.whom, For::Operators(_) | For::Admins) =>
            {
                (403, "forbidden")
            }
            Self::OtherClient | Self::Admin | Self::Member
                if row.object != Object::None && row.whom == For::Logins =>
            {
                (404, "not_found")
            }
            Self::Client | Self::OtherClient | Self::Member | Self::Admin | Self::Token => {
                (row.status, "")
            }
        }
    }
}

/// The same token with `alg: none` and no signature.
fn unsigned(token: &str) -> String {
    let mut parts = token.split('.');
    let header = BASE64.decode(parts.next().unwrap()).unwrap();
    let mut header: Value = serde_json::from_slice(&header).unwrap();
    header["alg"] = "none".into();
    format!(
        "{}.{}.",
        BASE64.encode(header.to_string()),
        parts.next().unwrap()
    )
}

/// Who a caller is; the client, where it is nobody who may call.
const fn whose(caller: Caller, people: &People) -> &Somebody {
    match caller {
        Caller::OtherClient => &people.other,
        Caller::Member => &people.member,
        Caller::Admin => &people.admin,
        _ => &people.client,
    }
}

/// A second factor that somebody begins to set up, whatever there was.
async fn begin_second_factor(world: &World, whose: &Somebody) -> TotpSecret {
    let entry = AuditEntry::new("a test", "a test", whose.account.get(), world.now());
    let removed = world.store.remove_second_factor(whose.user, &entry).await;
    assert!(matches!(removed, Ok(()) | Err(StoreError::NotFound { .. })));
    let token = world.token(whose).await;
    let password = json!({"password": PASSWORD});
    let path = "/v1/auth/second-factor";
    let begun = world.call(&token, "POST", path, Some(&password)).await;
    let secret = SecretString::from(text(&begun.json()["secret"]));
    TotpSecret::parse(&secret).unwrap()
}

/// Somebody's second factor, which is on, and whose code of now is not used.
async fn protect(world: &World, whose: &Somebody) -> TotpSecret {
    let secret = begin_second_factor(world, whose).await;
    let before = json!({"code": secret.code_at(world.seconds() - 30).as_str()});
    let token = world.token(whose).await;
    let path = "/v1/auth/second-factor/confirm";
    let confirmed = world.call(&token, "POST", path, Some(&before)).await;
    assert!(confirmed.status.is_success(), "{confirmed:?}");
    secret
}

async fn body(row: &Row, caller: Caller, world: &World, people: &People) -> Option<Value> {
    Some(match row.body {
        Body::None => return None,
        Body::Registration => {
            let email = format!("{}@example.com", Uuid::now_v7().simple());
            json!({"email": email, "password": PASSWORD, "name": "Ann"})
        }
        Body::Credentials => json!({"email": people.client.email, "password": PASSWORD}),
        Body::RefreshToken => {
            json!({"refresh_token": world.session(&people.client).await.expose()})
        }
        Body::EmailVerification => {
            let somebody = world.somebody(Role::Client).await;
            json!({"token": world.mailed_token(&somebody, MailedKind::VerifyEmail).await})
        }
        Body::Email => json!({"email": format!("{}@example.com", Uuid::now_v7().simple())}),
        Body::PasswordReset => {
            let somebody = world.somebody(Role::Client).await;
            let token = world
                .mailed_token(&somebody, MailedKind::ResetPassword)
                .await;
            json!({"token": token, "password": PASSWORD})
        }
        Body::Passwords => json!({"current_password": PASSWORD, "password": PASSWORD}),
        Body::Password => json!({"password": PASSWORD}),
        Body::FirstCode => {
            let secret = begin_second_factor(world, whose(caller, people)).await;
            json!({"code": secret.code_at(world.seconds()).as_str()})
        }
        Body::PasswordAndCode => {
            let secret = protect(world, whose(caller, people)).await;
            let code = secret.code_at(world.seconds());
            json!({"password": PASSWORD, "code": code.as_str()})
        }
        Body::Name => json!({"name": "my laptop"}),
        Body::Amount => json!({"amount": "1.5", "reason": "a test"}),
        Body::Reason => json!({"reason": "a test"}),
        Body::Empty => json!({}),
        Body::OperatorToken => json!({"name": "a script", "scopes": ["clients:read"]}),
        Body::Settings => json!({"tier": "free"}),
        Body::MemberChange => json!({"monthly_limit": "5"}),
        Body::Invitation => json!({"email": "ann@example.com", "role": "member"}),
        Body::Acceptance => {
            let invited = whose(caller, people);
            let founder = world.somebody(Role::Client).await;
            let organization = world.organization(&founder).await;
            let made = world.invited(&founder, &organization, &invited.email).await;
            json!({"code": made["code"]})
        }
        Body::KeyChange => json!({"name": "another name"}),
        Body::MasterAccount => json!({"key": Uuid::now_v7().to_string()}),
        Body::MasterKey => json!({"key": Uuid::now_v7().to_string()}),
        Body::Weight => json!({"weight": 2}),
        Body::SaleState => json!({"state": "hidden"}),
        Body::DefaultModel => json!({"model": null}),
        Body::Models => json!({"models": [MODEL]}),
        Body::Plan => json!({"name": Uuid::now_v7().to_string(), "terms": terms()}),
        Body::Terms => json!({"terms": terms()}),
        Body::FutureTerms => {
            json!({"terms": terms(), "effective_from": "2099-01-01T00:00:00Z"})
        }
        Body::MonthlyLimit => json!({"monthly_limit": null}),
    })
}

const MODEL: &str = "test/model";

fn terms() -> Value {
    json!({"rule": {"rule": "percent_of_list", "factor": "0.9"}})
}

/// What the administrator makes of this at a path.
async fn made(world: &World, people: &People, method: &str, path: &str, body: Value) -> Value {
    // So many calls a minute are allowed.
    world.pass(1);
    let admin = world.token(&people.admin).await;
    let made = world.call(&admin, method, path, Some(&body)).await;
    assert!(made.status.is_success(), "{made:?}");
    made.json()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The path of an object of the operator's inventory that nobody minds losing.
async fn inventory_path(row: &Row, world: &World, people: &People, path: &str) -> Option<String> {
    let name = Uuid::now_v7().to_string();
    Some(match row.object {
        Object::MasterAccount | Object::MasterKey => {
            let new = json!({"kind": "compatible", "base_url": "http://server", "key": name});
            let accounts = "/v1/admin/master-accounts";
            let account = text(&made(world, people, "POST", accounts, new).await["id"]);
            let keys = format!("{accounts}/{account}/keys");
            let other = json!({"key": format!("{name}-2")});
            let key = text(&made(world, people, "POST", &keys, other).await["id"]);
            path.replace("{id}", &account).replace("{key_id}", &key)
        }
        Object::Model => path.replace("{id}", "test%2Fmodel"),
        Object::OfModel => format!("{path}?model={MODEL}"),
        Object::Alias => {
            let alias = format!("/v1/admin/aliases/{name}");
            made(world, people, "PUT", &alias, json!({"models": [MODEL]})).await;
            path.replace("{name}", &name)
        }
        Object::Tier => {
            let tier = format!("/v1/admin/tiers/{name}");
            made(world, people, "PUT", &tier, json!({"monthly_limit": "5"})).await;
            path.replace("{name}", &name)
        }
        Object::Plan | Object::Scheduled => {
            let plan = json!({"name": name, "terms": terms()});
            made(world, people, "POST", "/v1/admin/plans", plan).await;
            let schedule = format!("/v1/admin/plans/{name}/schedule");
            let version = json!({"terms": terms(), "effective_from": "2099-01-01T00:00:00Z"});
            let version = made(world, people, "POST", &schedule, version).await;
            path.replace("{name}", &name)
                .replace("{id}", &text(&version["id"]))
        }
        _ => return None,
    })
}

async fn path(row: &Row, world: &World, people: &People) -> (String, String) {
    let (method, path) = row.route.split_once(' ').unwrap();
    if let Some(path) = inventory_path(row, world, people, path).await {
        return (method.to_owned(), path);
    }
    let id = match row.object {
        Object::None => String::new(),
        Object::Key => world.key(&people.client).await.to_string(),
        Object::Request => {
            let event = world.request(&people.books, &people.client).await;
            event.request.id.to_string()
        }
        Object::Session => world.session(&people.client).await.session().to_string(),
        Object::Identity => world.identity(&people.client).await.to_string(),
        // One that nobody minds losing.
        Object::OperatorToken => {
            let made = world.operator_token(&people.admin, &["audit:read"]).await;
            made["id"].as_str().unwrap().to_owned()
        }
        Object::Invitation => world.invitation(&people.admin).await.to_string(),
        Object::ProtectedAccount => {
            let somebody = world.somebody(Role::Client).await;
            protect(world, &somebody).await;
            somebody.account.to_string()
        }
        Object::Account => world.somebody(Role::Client).await.account.to_string(),
        Object::ClientKey => {
            let key = world.key(&people.client).await.to_string();
            let path = path.replace("{key_id}", &key);
            let account = people.client.account.to_string();
            return (method.to_owned(), path.replace("{id}", &account));
        }
        Object::Organization
        | Object::Member
        | Object::OrganizationKey
        | Object::MemberInvitation => {
            let path = path.replace("{id}", &people.organization);
            return (
                method.to_owned(),
                path_within(row, &path, world, people).await,
            );
        }
        of_inventory => unreachable!("{of_inventory:?} has a path of its own"),
    };
    (method.to_owned(), path.replace("{id}", &id))
}

/// The path with what it names of the organization, which nobody minds losing.
async fn path_within(row: &Row, path: &str, world: &World, people: &People) -> String {
    let (client, organization) = (&people.client, people.organization.as_str());
    match row.object {
        Object::Member => {
            let somebody = world.somebody(Role::Client).await;
            let member = world.joined(client, organization, &somebody).await;
            path.replace("{member_id}", &member)
        }
        Object::MemberInvitation => {
            let made = world.invited(client, organization, "ann@example.com");
            path.replace("{invitation_id}", made.await["id"].as_str().unwrap())
        }
        Object::OrganizationKey => {
            let key = json!({"name": "a key", "organization_id": organization});
            let token = world.token(&people.member).await;
            let made = world.call(&token, "POST", "/v1/auth/api-keys", Some(&key));
            path.replace("{key_id}", made.await.json()["id"].as_str().unwrap())
        }
        _ => path.to_owned(),
    }
}

#[tokio::test]
async fn every_route_lets_in_only_whom_it_is_for() {
    let in_table: BTreeSet<String> = TABLE.iter().map(|row| row.route.to_owned()).collect();
    let in_router: BTreeSet<String> = Api::routes().into_iter().collect();
    assert_eq!(in_table, in_router, "each route has a row in the table");

    let world = World::new().await;
    world.model(MODEL).await;
    let admin = world.somebody(Role::Admin).await;
    let expired = world.operator_token(&admin, &SCOPES).await;
    world.pass(90 * 24 * 3600);
    let client = world.somebody(Role::Client).await;
    let member = world.somebody(Role::Client).await;
    let organization = world.organization(&client).await;
    world.joined(&client, &organization, &member).await;
    let people = People {
        client,
        other: world.somebody(Role::Client).await,
        member,
        admin,
        organization,
        expired_token: expired["token"].as_str().unwrap().to_owned(),
        books: world.books().await,
    };
    let admin = world.token(&people.admin).await;
    // As they are new, they all have the same.
    let tag = async |token: &str, path: String| {
        let answer = world.call(token, "GET", &path, None).await;
        answer.headers["etag"].to_str().unwrap().to_owned()
    };
    let etag = async |path| tag(&admin, path).await;
    let account = format!("/v1/admin/clients/{}", people.other.account);
    let key = world.key(&people.other).await;
    let key_tag = etag(format!("{account}/api-keys/{key}")).await;
    let account_tag = etag(account).await;
    let somebody = world.somebody(Role::Client).await;
    let member = world
        .joined(&people.client, &people.organization, &somebody)
        .await;
    let member = format!("/v1/organizations/{}/members/{member}", people.organization);
    let member_tag = tag(&world.token(&people.client).await, member).await;
    for row in TABLE {
        for caller in CALLERS {
            let (method, path) = path(row, &world, &people).await;
            let body = body(row, caller, &world, &people).await;
            let token = caller.token(row, &world, &people).await;
            let bearer = token.map(|token| format!("Bearer {token}"));
            let mut headers: Vec<(&str, &str)> = Vec::new();
            headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
            match row.body {
                Body::Settings => headers.push(("if-match", account_tag.as_str())),
                Body::KeyChange => headers.push(("if-match", key_tag.as_str())),
                Body::MemberChange => headers.push(("if-match", member_tag.as_str())),
                _ if method == "PUT" || method == "PATCH" => headers.push(("if-match", "*")),
                _ => {}
            }
            let answer = world.send(&method, &path, &headers, body.as_ref()).await;
            // Whoever is let in may find nothing there.
            let is_let_in = answer.status.is_success() || answer.status.as_u16() == row.status;
            let code = match is_let_in {
                true => String::new(),
                false => answer.code(),
            };
            let (status, expected_code) = caller.expected(row);
            assert_eq!(
                (answer.status.as_u16(), code.as_str()),
                (status, expected_code),
                "{} by {caller:?}: {answer:?}",
                row.route
            );
        }
    }
    println!(
        "{} routes × {} callers = {}",
        TABLE.len(),
        CALLERS.len(),
        TABLE.len() * CALLERS.len()
    );
}

#[tokio::test]
async fn what_changes_acts_on_tokens_that_are_out() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let token = world.token(&client).await;
    let me = async || world.call(&token, "GET", "/v1/auth/me", None).await.status;
    assert_eq!(me().await, StatusCode::OK);
    let left = world.call(&token, "POST", "/v1/auth/logout", None).await;
    assert_eq!(left.status, StatusCode::NO_CONTENT);
    assert_eq!(me().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_impersonation_ends_with_the_administrator() {
    let world = World::new().await;
    let (admin, client) = (
        world.somebody(Role::Admin).await,
        world.somebody(Role::Client).await,
    );
    let claims = world.claims(&admin).await;
    let token = world.tokens.sign(claims, world.seconds()).unwrap();
    let why = json!({"reason": "a ticket"});
    let of = |account| format!("/v1/admin/clients/{account}/impersonate");
    let begin = async |account| world.call(&token, "POST", &of(account), Some(&why)).await;
    let begun = begin(client.account).await;
    assert_eq!(begun.status, StatusCode::OK, "{begun:?}");
    let seen = text(&begun.json()["access_token"]);
    let me = async || world.call(&seen, "GET", "/v1/auth/me", None).await;
    let shown = me().await.json();
    assert_eq!(shown["email"], client.email.as_str());
    assert_eq!(shown["impersonated_by"], admin.email.as_str());

    // Neither an administrator nor oneself.
    let other = world.somebody(Role::Admin).await;
    for account in [other.account, admin.account] {
        assert_eq!(begin(account).await.status, StatusCode::NOT_FOUND);
    }
    let log = world.call(
        &token,
        "GET",
        "/v1/admin/audit-log?action=client.impersonate",
        None,
    );
    let log = log.await.json();
    let [entry] = log["data"].as_array().unwrap().as_slice() else {
        panic!("one entry: {log}");
    };
    assert_eq!(entry["actor"], admin.email.as_str());
    assert_eq!(entry["reason"], "a ticket");

    world.call(&token, "POST", "/v1/auth/logout", None).await;
    assert_eq!(me().await.status, StatusCode::UNAUTHORIZED);
}
