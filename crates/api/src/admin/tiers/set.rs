//! `PUT /v1/admin/tiers/{name}`.

use std::sync::Arc;

use airouter_billing::Nanos;
use airouter_store::audit::named;
use airouter_store::tiers::Tier as Stored;
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Tier, one};
use crate::audited::Author;
use crate::body::{JsonBody, PathName};
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags::{self, Tagged};
use crate::values::{Usd, named as said};

/// More than any operator has.
const MOST_TIERS: usize = 1_000;

/// What a tier is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TierChange {
    /// What an account may spend in a month; null is any amount.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Usd>, required = true)]
    monthly_limit: Option<Option<Usd>>,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Add a tier, or give one another limit, which acts on its accounts within a second. `If-Match` is the `ETag` of what the
/// caller has seen; for a new one there is none.
#[utoipa::path(
    put,
    path = "/v1/admin/tiers/{name}",
    tag = "prices",
    params(
        ("name" = String, Path, description = "The tier's name"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the tier as the caller has seen it, or `*`")
    ),
    request_body = TierChange,
    responses((status = 200, description = "The tier as it is now", body = Tier))
)]
pub(crate) async fn set_tier(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathName(name): PathName,
    headers: HeaderMap,
    JsonBody(change): JsonBody<TierChange>,
) -> Tagged<Tier> {
    let wrong = |field, expected| Problem::Invalid { field, expected };
    let limit = change
        .monthly_limit
        .ok_or(wrong("monthly_limit", "an amount in USD, or null"))?;
    if limit.is_some_and(|Usd(limit)| !(Nanos::ZERO..=Usd::MOST).contains(&limit)) {
        return Err(wrong("monthly_limit", "from 0 to 1000000000, or null"));
    }
    if names::name(&name).as_deref() != Some(name.as_str()) {
        return Err(wrong("name", "one line of at most 200 bytes"));
    }
    let before = one::find(&shared, &name).await?;
    let seen = tags::seen(&headers, before.as_ref().map(Stored::described))?;
    if before.is_none() && shared.store.tiers().await?.len() >= MOST_TIERS {
        return Err(Problem::TooMany("tiers"));
    }
    let subject = named("tier", &name);
    let entry = author.entry(&shared, "tier.set", subject, change.reason.as_deref())?;
    let limit = limit.map(|Usd(limit)| limit);
    shared.store.set_tier(&name, &seen, limit, &entry).await?;
    one::show(&shared, &name).await
}
