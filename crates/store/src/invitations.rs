//! Invitations: where not everybody may register, whoever has one may, once.

use airouter_auth::TokenHash;
use airouter_billing::{Timestamp, UserId};
use async_trait::async_trait;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::clients::NewPerson;
use crate::error::StoreError;

/// An invitation to be made.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Its id.
    pub id: Uuid,
    /// The code that the invited one presents.
    pub code: TokenHash,
    /// The only e-mail address that may register with it, if it is for one.
    pub email: Option<String>,
    /// From when on it is void.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// An invitation as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationRecord {
    /// Its id.
    pub id: Uuid,
    /// The only e-mail address that may register with it, if it is for one.
    pub email: Option<String>,
    /// Since when there is the invitation.
    pub created_at: Timestamp,
    /// From when on it is void.
    pub expires_at: Timestamp,
    /// When somebody has registered with it, and who.
    pub used: Option<(Timestamp, UserId)>,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Invitations to register.
#[async_trait]
pub trait Invitations: Send + Sync + 'static {
    /// Makes an invitation.
    async fn invite(
        &self,
        invitation: &NewInvitation,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// At most `limit` invitations in the order of their ids, after `after`.
    async fn invitations(
        &self,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<InvitationRecord>, StoreError>;

    /// Revokes an invitation; one that is revoked stays so since the first time. [`StoreError::NotFound`] when there is none
    /// of this id that nobody has used.
    async fn revoke_invitation(&self, id: Uuid, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Creates a person as [`crate::Clients::create_person`] does, and uses up the invitation with this code. Of two with one
    /// invitation only one registers. [`StoreError::NotFound`] when there is none that holds for the person's e-mail address
    /// at this time; that is looked at first.
    async fn register_invited(
        &self,
        person: &NewPerson,
        code: &TokenHash,
    ) -> Result<(), StoreError>;
}
