//! `/v1/organizations/{id}/invitations`: who may become a member.

pub(crate) mod accept;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod revoke;

use airouter_store::organizations::MemberInvitationRecord;
use serde::Serialize;
use utoipa::ToSchema;

use super::Role;
use crate::values::{Id, Time};

/// An invitation that is open, without its code.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberInvitation {
    /// Its id.
    id: Id,
    /// The only e-mail address whose login may accept it.
    #[schema(example = "ann@example.com")]
    email: String,
    /// What the new member may do.
    role: Role,
    /// Since when there is the invitation.
    created_at: Time,
    /// From when on it is void.
    expires_at: Time,
}

impl From<MemberInvitationRecord> for MemberInvitation {
    fn from(invitation: MemberInvitationRecord) -> Self {
        Self {
            id: Id(invitation.id),
            email: invitation.email,
            role: invitation.role.into(),
            created_at: Time(invitation.created_at),
            expires_at: Time(invitation.expires_at),
        }
    }
}
