//! `/v1/admin/invitations`: who may register where not everybody may.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod revoke;

use airouter_store::invitations::InvitationRecord;
use serde::Serialize;
use utoipa::ToSchema;

use crate::values::{Id, Time};

/// An invitation, without its code.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Invitation {
    /// Its id.
    id: Id,
    /// The only e-mail address that may register with it; null if any may.
    #[schema(example = "ann@example.com")]
    email: Option<String>,
    /// Since when there is the invitation.
    created_at: Time,
    /// From when on it is void.
    expires_at: Time,
    /// When somebody has registered with it.
    used_at: Option<Time>,
    /// The login that did.
    used_by: Option<Id>,
    /// Since when it is revoked.
    revoked_at: Option<Time>,
}

impl From<InvitationRecord> for Invitation {
    fn from(invitation: InvitationRecord) -> Self {
        let (used_at, used_by) = invitation.used.unzip();
        Self {
            id: Id(invitation.id),
            email: invitation.email,
            created_at: Time(invitation.created_at),
            expires_at: Time(invitation.expires_at),
            used_at: used_at.map(Time),
            used_by: used_by.map(|user| Id(user.get())),
            revoked_at: invitation.revoked_at.map(Time),
        }
    }
}
