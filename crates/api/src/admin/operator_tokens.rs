//! `/v1/admin/operator-tokens`: what scripts of the operator send in place of a login.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod revoke;

use airouter_store::operator_tokens::{OperatorTokenRecord, Scope};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::values::{Id, Time};

/// An operator token, without the token itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperatorToken {
    /// Its id.
    id: Id,
    /// What it is called.
    #[schema(example = "nightly report")]
    name: String,
    /// Enough of it to recognize it.
    #[schema(example = "sk-air-op-abcd…")]
    preview: String,
    /// What it may do.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<&'static str>,
    /// The e-mail address of the administrator who made it.
    #[schema(example = "admin@localhost")]
    made_by: String,
    /// Since when there is the token.
    created_at: Time,
    /// From when on it is refused.
    expires_at: Time,
    /// Since when it is revoked.
    revoked_at: Option<Time>,
    /// When it was last used, to the minute.
    last_used_at: Option<Time>,
}

/// Something that an operator token may do.
#[derive(Clone, Copy, Deserialize, ToSchema)]
pub(crate) enum ScopeName {
    /// Read accounts and what they have.
    #[serde(rename = "clients:read")]
    ClientsRead,
    /// Change, disable and enable accounts.
    #[serde(rename = "clients:write")]
    ClientsWrite,
    /// Credit and debit accounts, and refund requests.
    #[serde(rename = "money:write")]
    MoneyWrite,
    /// Read the log of requests.
    #[serde(rename = "logs:read")]
    LogsRead,
    /// Read the audit log.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Read, make and revoke invitations.
    #[serde(rename = "invitations")]
    Invitations,
    /// Read master accounts, models, aliases and settings.
    #[serde(rename = "inventory:read")]
    InventoryRead,
    /// Change master accounts, models and aliases.
    #[serde(rename = "inventory:write")]
    InventoryWrite,
    /// Read prices, plans and tiers.
    #[serde(rename = "prices:read")]
    PricesRead,
    /// Change plans and tiers.
    #[serde(rename = "prices:write")]
    PricesWrite,
    /// Read what the business comes to.
    #[serde(rename = "stats:read")]
    StatsRead,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::ClientsRead => Self::ClientsRead,
            ScopeName::ClientsWrite => Self::ClientsWrite,
            ScopeName::MoneyWrite => Self::MoneyWrite,
            ScopeName::LogsRead => Self::LogsRead,
            ScopeName::AuditRead => Self::AuditRead,
            ScopeName::Invitations => Self::Invitations,
            ScopeName::InventoryRead => Self::InventoryRead,
            ScopeName::InventoryWrite => Self::InventoryWrite,
            ScopeName::PricesRead => Self::PricesRead,
            ScopeName::PricesWrite => Self::PricesWrite,
            ScopeName::StatsRead => Self::StatsRead,
        }
    }
}

impl From<OperatorTokenRecord> for OperatorToken {
    fn from(token: OperatorTokenRecord) -> Self {
        Self {
            id: Id(token.id),
            name: token.name,
            preview: token.preview,
            scopes: token.scopes.names(),
            made_by: token.maker,
            created_at: Time(token.created_at),
            expires_at: Time(token.expires_at),
            revoked_at: token.revoked_at.map(Time),
            last_used_at: token.last_used_at.map(Time),
        }
    }
}
