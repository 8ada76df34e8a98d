//! `/v1/organizations/{id}/usage` and what is beside it: what was used of an organization. Owners see all of it,
//! members what they used with their own keys.

pub(crate) mod daily;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod models;
pub(crate) mod recent_requests;
pub(crate) mod total;

use airouter_store::clients::MemberRole;
use airouter_store::logins::Login;
use uuid::Uuid;

use crate::client::usage::Spender;
use crate::problem::Problem;
use crate::shared::Shared;

/// Whose use of the organization the caller may see.
async fn spender(shared: &Shared, login: &Login, id: Uuid) -> Result<Spender, Problem> {
    let organization = super::of_member(shared, login, id).await?;
    Ok(Spender {
        payer: organization.account,
        member: match organization.role {
            MemberRole::Owner => None,
            MemberRole::Member => Some(login.account),
        },
    })
}
