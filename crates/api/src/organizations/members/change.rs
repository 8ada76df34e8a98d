//! `PATCH /v1/organizations/{id}/members/{member_id}`.

use std::sync::Arc;

use airouter_billing::Nanos;
use airouter_store::organizations::{self, MemberSettings, OrganizationChanged};
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Member, TaggedMember, find, json, tagged};
use crate::audited::Actor;
use crate::body::{JsonBody, PathPair};
use crate::caller::{Caller, ClientAddress};
use crate::organizations::{Role, of_owner};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags;
use crate::values::{Usd, named};

/// What is to be changed; what is not named stays. Null lifts a limit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberChange {
    /// What the member may do.
    role: Option<Role>,
    /// What the member may spend of the organization's money in a day (UTC). What was spent today counts.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Usd>)]
    daily_limit: Option<Option<Usd>>,
    /// And in a month.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Usd>)]
    monthly_limit: Option<Option<Usd>>,
}

fn limit(field: &'static str, limit: Option<Usd>) -> Result<Option<Nanos>, Problem> {
    let amount = limit.map(|Usd(amount)| amount);
    if amount.is_some_and(|amount| !(Nanos::ZERO..=Usd::MOST).contains(&amount)) {
        return Err(Problem::Invalid {
            field,
            expected: "an amount from 0 to 1000000000",
        });
    }
    Ok(amount)
}

impl MemberChange {
    fn of(&self, before: MemberSettings) -> Result<MemberSettings, Problem> {
        let mut after = before;
        if let Some(role) = self.role {
            after.role = role.into();
        }
        if let Some(daily) = self.daily_limit {
            after.daily_limit = limit("daily_limit", daily)?;
        }
        if let Some(monthly) = self.monthly_limit {
            after.monthly_limit = limit("monthly_limit", monthly)?;
        }
        Ok(after)
    }
}

/// Change what a member may do and spend; it acts everywhere within a second. Only owners may. `If-Match` is the `ETag` of
/// what the caller has seen.
#[utoipa::path(
    patch,
    path = "/v1/organizations/{id}/members/{member_id}",
    tag = "organizations",
    params(
        ("id" = crate::values::Id, Path, description = "The organization's id"),
        ("member_id" = crate::values::Id, Path, description = "The membership's id"),
        ("If-Match" = String, Header, description = "The `ETag` of the member as the caller has seen it")
    ),
    request_body = MemberChange,
    responses((status = 200, description = "The member as it is now", body = Member))
)]
pub(crate) async fn change_member(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    PathPair(id, member): PathPair<Uuid>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<MemberChange>,
) -> TaggedMember {
    let organization = of_owner(&shared, &login, id).await?;
    let before = find(&shared, organization, member).await?.settings;
    let seen = json(&before)?;
    tags::check_seen(&headers, &seen)?;
    let after = request.of(before)?;
    let actor = Actor::of_login(&login, address);
    let mut audit = actor.entry("organization.member.change", member, shared.now());
    audit.before = Some(seen);
    audit.after = Some(json(&after)?);
    let change = organizations::MemberChange {
        expected: before,
        settings: after,
        audit,
    };
    let changed = shared.store.change_member(organization, member, &change);
    match changed.await? {
        OrganizationChanged::Yes => tagged(find(&shared, organization, member).await?),
        OrganizationChanged::LastOwner => Err(Problem::LastOwner),
        OrganizationChanged::Conflict
        | OrganizationChanged::TooMany
        | OrganizationChanged::Member => Err(Problem::ChangedMeanwhile),
    }
}
