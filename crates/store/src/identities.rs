//! Identities: who a login is at a provider of logins.

use airouter_auth::TokenHash;
use airouter_billing::{AccountId, Timestamp, UserId};
use async_trait::async_trait;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::clients::NewPerson;
use crate::error::StoreError;

/// Somebody, as a provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIdentity {
    /// Its id here.
    pub id: Uuid,
    /// The provider.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// The e-mail address that the provider named.
    pub email: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// An identity of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRecord {
    /// Its id here.
    pub id: Uuid,
    /// The provider.
    pub issuer: String,
    /// The e-mail address that the provider named when it was linked.
    pub email: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

/// A login that an identity may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLogin {
    /// The login.
    pub user: UserId,
    /// The account that it owns.
    pub account: AccountId,
    /// Its e-mail address.
    pub email: String,
    /// Whether that was proved to be its own.
    pub email_verified: bool,
    /// Whether it may be used.
    pub is_active: bool,
}

/// Which logins an identity may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownLogins {
    /// The one that it is linked to.
    pub linked: Option<KnownLogin>,
    /// The one with its e-mail address.
    pub of_email: Option<KnownLogin>,
}

/// On what ground an identity becomes a login's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkGround<'a> {
    /// Who has logged in asks for it.
    Session,
    /// Both sides have proved this e-mail address.
    VerifiedEmail(&'a str),
}

/// Identities of logins. An identity is of one login, and a login has one identity of a provider.
#[async_trait]
pub trait Identities: Send + Sync + 'static {
    /// The logins that somebody may be whom a provider knows by this subject and, perhaps, this e-mail address.
    async fn known_logins(
        &self,
        issuer: &str,
        subject: &str,
        email: Option<&str>,
    ) -> Result<KnownLogins, StoreError>;

    /// Creates a person as [`crate::Clients::create_person`] does, or with the code of an invitation as
    /// [`crate::Invitations::register_invited`] does, whose e-mail address is verified and who is this identity.
    /// [`StoreError::Exists`] also when the identity is another login's.
    async fn register_identity(
        &self,
        person: &NewPerson,
        identity: &NewIdentity,
        invitation: Option<&TokenHash>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Makes an identity one of a login. [`StoreError::Exists`] when it is a login's already, or the login has one of this
    /// provider; [`StoreError::NotFound`] when there is no such login that is active, or the ground does not hold.
    async fn link_identity(
        &self,
        user: UserId,
        identity: &NewIdentity,
        ground: LinkGround<'_>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// The identities of a login, the oldest first.
    async fn identities(&self, user: UserId) -> Result<Vec<IdentityRecord>, StoreError>;

    /// Takes an identity from a login. [`StoreError::NotFound`] when it is not the login's; [`StoreError::InUse`] when that has
    /// neither a password nor another identity, of however many that are taken at once.
    async fn unlink_identity(
        &self,
        user: UserId,
        identity: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
}
