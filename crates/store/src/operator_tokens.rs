//! Operator tokens: what scripts and services of the operator send in place of a login. Each may do what its scopes say and
//! no more, as long as the administrator who made it is one.

use std::collections::BTreeSet;
use std::fmt;

use airouter_auth::TokenHash;
use airouter_billing::{AccountId, Timestamp, UserId};
use async_trait::async_trait;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::error::StoreError;

/// That a token was used is noted no more often than this, in seconds.
pub const USE_NOTED_SECONDS: i64 = 60;

/// Something that an operator token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read accounts and what they have.
    ClientsRead,
    /// Change, disable and enable accounts.
    ClientsWrite,
    /// Credit and debit accounts, and refund requests.
    MoneyWrite,
    /// Read the log of requests.
    LogsRead,
    /// Read the audit log.
    AuditRead,
    /// Read, make and revoke invitations.
    Invitations,
    /// Read master accounts, models, aliases and settings.
    InventoryRead,
    /// Change master accounts, models and aliases.
    InventoryWrite,
    /// Read prices, plans and tiers.
    PricesRead,
    /// Change plans and tiers.
    PricesWrite,
    /// Read what the business comes to.
    StatsRead,
}

impl Scope {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::ClientsRead,
        Self::ClientsWrite,
        Self::MoneyWrite,
        Self::LogsRead,
        Self::AuditRead,
        Self::Invitations,
        Self::InventoryRead,
        Self::InventoryWrite,
        Self::PricesRead,
        Self::PricesWrite,
        Self::StatsRead,
    ];

    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientsRead => "clients:read",
            Self::ClientsWrite => "clients:write",
            Self::MoneyWrite => "money:write",
            Self::LogsRead => "logs:read",
            Self::AuditRead => "audit:read",
            Self::Invitations => "invitations",
            Self::InventoryRead => "inventory:read",
            Self::InventoryWrite => "inventory:write",
            Self::PricesRead => "prices:read",
            Self::PricesWrite => "prices:write",
            Self::StatsRead => "stats:read",
        }
    }

    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What an operator token may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Reads names with spaces between them. A name that this version doesn't know allows nothing.
    pub fn parse(text: &str) -> Self {
        text.split(' ').filter_map(Scope::from_name).collect()
    }

    /// Whether this is among them.
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|scope| scope.name()).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

/// Names with spaces between them, as [`Scopes::parse`] reads them.
impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.names().join(" "))
    }
}

/// An operator token to be made.
#[derive(Clone, Debug)]
pub struct NewOperatorToken {
    /// Its id.
    pub id: Uuid,
    /// What to call it.
    pub name: String,
    /// Enough of it to recognize it.
    pub preview: String,
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// What it may do.
    pub scopes: Scopes,
    /// The administrator who makes it.
    pub maker: UserId,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// An operator token as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorTokenRecord {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// Enough of it to recognize it.
    pub preview: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The e-mail address of the administrator who made it.
    pub maker: String,
    /// Since when there is the token.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Who calls with an operator token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorToken {
    /// The token's id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The administrator who made it.
    pub maker: UserId,
    /// That one's e-mail address.
    pub email: String,
    /// That one's own account.
    pub account: AccountId,
}

/// Operator tokens.
#[async_trait]
pub trait OperatorTokens: Send + Sync + 'static {
    /// Makes a token.
    async fn create_operator_token(
        &self,
        token: &NewOperatorToken,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// At most `limit` tokens in the order of their ids, revoked ones too, after `after`.
    async fn operator_tokens(
        &self,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<OperatorTokenRecord>, StoreError>;

    /// Revokes a token; one that is revoked stays so since the first time. [`StoreError::NotFound`] when there is none of
    /// this id.
    async fn revoke_operator_token(&self, id: Uuid, audit: &AuditEntry) -> Result<(), StoreError>;

    /// The token with this hash, if it holds at `now` and its maker is an active administrator. That it was used is noted,
    /// at most once in [`USE_NOTED_SECONDS`].
    async fn operator_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<OperatorToken>, StoreError>;
}
