//! `/v1/organizations/{id}/members`: who spends from an organization, and how much.

pub(crate) mod change;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod remove;

use airouter_billing::AccountId;
use airouter_store::organizations::{MemberRecord, MemberSettings};
use axum::Json;
use http::header::{ETAG, HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Role;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags;
use crate::values::{Id, Time, Usd};

/// A member. Null is no limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    /// The membership's id.
    id: Id,
    /// The person's account.
    account_id: Id,
    /// The person's name.
    #[schema(example = "Ann")]
    name: String,
    /// The person's e-mail address.
    #[schema(example = "ann@example.com")]
    email: String,
    /// What the member may do.
    role: Role,
    /// What the member may spend of the organization's money in a day (UTC).
    daily_limit: Option<Usd>,
    /// And in a month.
    monthly_limit: Option<Usd>,
    /// Since when.
    joined_at: Time,
}

impl From<MemberRecord> for Member {
    fn from(member: MemberRecord) -> Self {
        let settings = member.settings;
        Self {
            id: Id(member.id),
            account_id: Id(member.person.get()),
            name: member.name,
            email: member.email,
            role: settings.role.into(),
            daily_limit: settings.daily_limit.map(Usd),
            monthly_limit: settings.monthly_limit.map(Usd),
            joined_at: Time(member.joined_at),
        }
    }
}

/// One member with the tag of what is set.
type TaggedMember = Result<([(HeaderName, HeaderValue); 1], Json<Member>), Problem>;

#[derive(Serialize)]
struct Settings {
    role: Role,
    daily_limit: Option<Usd>,
    monthly_limit: Option<Usd>,
}

/// What is set of a member, as the audit log keeps it and as the tag covers it.
fn json(settings: &MemberSettings) -> Result<String, Problem> {
    let shown = Settings {
        role: settings.role.into(),
        daily_limit: settings.daily_limit.map(Usd),
        monthly_limit: settings.monthly_limit.map(Usd),
    };
    serde_json::to_string(&shown).map_err(|_| Problem::Internal)
}

fn tagged(member: MemberRecord) -> TaggedMember {
    let tag = tags::tag(&json(&member.settings)?)?;
    Ok(([(ETAG, tag)], Json(member.into())))
}

async fn find(
    shared: &Shared,
    organization: AccountId,
    member: Uuid,
) -> Result<MemberRecord, Problem> {
    let found = shared.store.member(organization, member).await?;
    found.ok_or(Problem::NotFound("member"))
}
