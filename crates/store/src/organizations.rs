//! Organizations as their members see and change them. Every change writes an entry of the audit log in its own transaction.

use airouter_auth::TokenHash;
use airouter_billing::{AccountId, Nanos, Period, Quantity, Timestamp};
use async_trait::async_trait;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::clients::{MemberRole, NewOrganization};
use crate::error::StoreError;
use crate::key_admin::CapChange;

/// Organizations that one person may own.
pub const MOST_OWNED: i64 = 20;
/// Members of one organization.
pub const MOST_MEMBERS: i64 = 10_000;
/// Invitations of one organization that are open.
pub const MOST_INVITATIONS: i64 = 1_000;

impl MemberRole {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member => "member",
        }
    }

    /// The role with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Owner, Self::Member]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// An organization as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationRecord {
    /// Its account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// What the member may do in it.
    pub role: MemberRole,
    /// Since when there is the organization.
    pub created_at: Timestamp,
}

/// What owners set of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberSettings {
    /// What the member may do.
    pub role: MemberRole,
    /// What the member may spend of the organization's money in a day.
    pub daily_limit: Option<Nanos>,
    /// And in a month.
    pub monthly_limit: Option<Nanos>,
}

/// A member as owners see one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// The membership.
    pub id: Uuid,
    /// The person's account.
    pub person: AccountId,
    /// The person's name.
    pub name: String,
    /// The person's e-mail address.
    pub email: String,
    /// What is set.
    pub settings: MemberSettings,
    /// Since when.
    pub joined_at: Timestamp,
}

impl MemberSettings {
    /// What has to become of the budgets of a member who was set as `before`.
    pub fn cap_changes(&self, before: &Self) -> Vec<CapChange> {
        [
            (Period::Day, before.daily_limit, self.daily_limit),
            (Period::Month, before.monthly_limit, self.monthly_limit),
        ]
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .map(|(period, _, after)| CapChange {
            quantity: Quantity::Nanos,
            period,
            cap: after.map(Nanos::get),
        })
        .collect()
    }

    /// Notes a cap on the member's spending, as adapters read it.
    pub fn note(&mut self, period: Period, cap: i64) {
        let cap = Some(Nanos::new(cap));
        match period {
            Period::Day => self.daily_limit = cap,
            Period::Month => self.monthly_limit = cap,
            // Nothing here sets such a one.
            Period::None | Period::Week => {}
        }
    }
}

/// An invitation to become a member, to be made.
#[derive(Clone, Debug)]
pub struct NewMemberInvitation {
    /// Its id.
    pub id: Uuid,
    /// The organization.
    pub organization: AccountId,
    /// The code that the invited one presents.
    pub code: TokenHash,
    /// The only e-mail address whose login may accept it.
    pub email: String,
    /// What the new member may do.
    pub role: MemberRole,
    /// From when on it is void.
    pub expires_at: Timestamp,
}

/// An invitation that nobody has accepted or revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInvitationRecord {
    /// Its id.
    pub id: Uuid,
    /// The only e-mail address whose login may accept it.
    pub email: String,
    /// What the new member may do.
    pub role: MemberRole,
    /// Since when there is the invitation.
    pub created_at: Timestamp,
    /// From when on it is void.
    pub expires_at: Timestamp,
}

/// Somebody who accepts an invitation.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The code.
    pub code: TokenHash,
    /// The person's account.
    pub person: AccountId,
    /// The person's e-mail address.
    pub email: String,
    /// What the audit log says of it; its subject becomes the organization.
    pub audit: AuditEntry,
}

/// What became of a change of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrganizationChanged {
    /// It was made.
    Yes,
    /// It is not as it was expected to be: somebody else has changed it.
    Conflict,
    /// It would leave the organization without an owner.
    LastOwner,
    /// There are as many as there may be.
    TooMany,
    /// The person is a member already.
    Member,
}

/// A change of what is set of a member.
#[derive(Clone, Debug)]
pub struct MemberChange {
    /// What its author has seen.
    pub expected: MemberSettings,
    /// What is to be.
    pub settings: MemberSettings,
    /// What the audit log says of it.
    pub audit: AuditEntry,
}

/// Organizations and their members.
#[async_trait]
pub trait Organizations: Send + Sync + 'static {
    /// Creates an organization whose owner is `founder`, if that does not own [`MOST_OWNED`] already.
    async fn found(
        &self,
        organization: &NewOrganization,
        founder: AccountId,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError>;

    /// At most `limit` organizations of which the person is a member, in the order of their ids, after `after`.
    async fn organizations_of(
        &self,
        person: AccountId,
        after: Option<AccountId>,
        limit: u16,
    ) -> Result<Vec<OrganizationRecord>, StoreError>;

    /// An organization as the person sees it; `None` if the person is no member.
    async fn organization_of(
        &self,
        person: AccountId,
        organization: AccountId,
    ) -> Result<Option<OrganizationRecord>, StoreError>;

    /// Gives an organization another name.
    async fn rename_organization(
        &self,
        organization: AccountId,
        name: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// At most `limit` members in the order of their ids, after `after`.
    async fn members(
        &self,
        organization: AccountId,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<MemberRecord>, StoreError>;

    /// One member.
    async fn member(
        &self,
        organization: AccountId,
        member: Uuid,
    ) -> Result<Option<MemberRecord>, StoreError>;

    /// Changes a member who still is as expected. A limit that is set counts what the member has spent of the
    /// organization's money in the present period. [`StoreError::NotFound`] when there is none.
    async fn change_member(
        &self,
        organization: AccountId,
        member: Uuid,
        change: &MemberChange,
    ) -> Result<OrganizationChanged, StoreError>;

    /// Ends a membership, and revokes the person's keys that spend from the organization. [`StoreError::NotFound`] when there
    /// is none.
    async fn remove_member(
        &self,
        organization: AccountId,
        member: Uuid,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError>;

    /// Makes an invitation, if there are not [`MOST_INVITATIONS`] open ones.
    async fn invite_member(
        &self,
        invitation: &NewMemberInvitation,
        audit: &AuditEntry,
    ) -> Result<OrganizationChanged, StoreError>;

    /// At most `limit` invitations that are open, expired ones too, in the order of their ids, after `after`.
    async fn member_invitations(
        &self,
        organization: AccountId,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<MemberInvitationRecord>, StoreError>;

    /// Revokes an invitation. [`StoreError::NotFound`] when there is no open one.
    async fn revoke_member_invitation(
        &self,
        organization: AccountId,
        invitation: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Makes a person a member, if there are not [`MOST_MEMBERS`], and uses up the invitation. Who was a member before is
    /// the same one again. [`StoreError::NotFound`] when no open invitation with this code is for the person's e-mail
    /// address.
    async fn accept_invitation(
        &self,
        acceptance: &Acceptance,
    ) -> Result<(OrganizationChanged, AccountId), StoreError>;
}
