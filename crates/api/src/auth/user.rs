//! A login as it is shown.

use airouter_billing::event::Payment;
use airouter_store::logins::Login;
use serde::Serialize;
use utoipa::ToSchema;

use crate::values::{Id, Time};

/// A login and the account that it owns.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct User {
    /// The login's id.
    pub(crate) id: Id,
    /// The e-mail address.
    #[schema(example = "ann@example.com")]
    pub(crate) email: String,
    /// Whether the address was proved to be the user's.
    pub(crate) email_verified: bool,
    /// The name to show.
    #[schema(example = "Ann")]
    pub(crate) name: String,
    /// What it may do.
    #[schema(value_type = RoleName)]
    pub(crate) role: &'static str,
    /// The account that it owns: who pays.
    pub(crate) account_id: Id,
    /// How the account pays.
    #[schema(value_type = ModeName)]
    pub(crate) mode: &'static str,
    /// Since when there is the login.
    pub(crate) created_at: Time,
    /// The e-mail address of the administrator who is here in its place, and may only look.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) impersonated_by: Option<String>,
}

/// What a login may do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum RoleName {
    /// A client.
    Client,
    /// The operator.
    Admin,
}

/// How an account pays.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum ModeName {
    /// From a balance.
    Prepaid,
    /// Afterwards, up to a limit.
    Metered,
}

impl From<&Login> for User {
    fn from(login: &Login) -> Self {
        Self {
            id: Id(login.user.get()),
            email: login.email.clone(),
            email_verified: login.email_verified,
            name: login.name.clone(),
            role: login.role.name(),
            account_id: Id(login.account.get()),
            mode: Payment::name(login.payment),
            created_at: Time(login.created_at),
            impersonated_by: login.impersonated_by.clone(),
        }
    }
}
