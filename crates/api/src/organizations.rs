//! `/v1/organizations`: accounts that several people spend from.

pub(crate) mod api_keys;
pub(crate) mod balance;
pub(crate) mod create;
pub(crate) mod invitations;
pub(crate) mod list;
pub(crate) mod members;
pub(crate) mod one;
pub(crate) mod rename;
pub(crate) mod usage;

use airouter_billing::AccountId;
use airouter_store::clients::MemberRole;
use airouter_store::logins::Login;
use airouter_store::organizations::OrganizationRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::{Id, Time};

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Runs the organization.
    Owner,
    /// Spends from it.
    Member,
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Member => Self::Member,
        }
    }
}

impl From<MemberRole> for Role {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Owner => Self::Owner,
            MemberRole::Member => Self::Member,
        }
    }
}

/// An organization, as one of its members sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Organization {
    /// Its id: the account that pays.
    id: Id,
    /// Its name.
    #[schema(example = "Springfield School")]
    name: String,
    /// What the caller may do in it.
    role: Role,
    /// Since when there is the organization.
    created_at: Time,
}

impl From<OrganizationRecord> for Organization {
    fn from(organization: OrganizationRecord) -> Self {
        Self {
            id: Id(organization.account.get()),
            name: organization.name,
            role: organization.role.into(),
            created_at: Time(organization.created_at),
        }
    }
}

/// What an organization is to be called.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationName {
    /// Its name.
    #[schema(example = "Springfield School", min_length = 1, max_length = 200)]
    name: String,
}

impl OrganizationName {
    fn checked(&self) -> Result<String, Problem> {
        names::name(&self.name).ok_or(Problem::Invalid {
            field: "name",
            expected: "one line of at most 200 bytes",
        })
    }
}

/// The organization of a path, for its members.
async fn of_member(
    shared: &Shared,
    login: &Login,
    id: Uuid,
) -> Result<OrganizationRecord, Problem> {
    let organization = AccountId::new(id);
    let found = shared.store.organization_of(login.account, organization);
    found.await?.ok_or(Problem::NotFound("organization"))
}

/// The organization of a path, for its owners. For others there is none; members are told that they may not.
async fn of_owner(shared: &Shared, login: &Login, id: Uuid) -> Result<AccountId, Problem> {
    let found = of_member(shared, login, id).await?;
    match found.role {
        MemberRole::Owner => Ok(found.account),
        MemberRole::Member => Err(Problem::OwnersOnly),
    }
}
