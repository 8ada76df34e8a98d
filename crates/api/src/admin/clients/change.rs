//! `PATCH /v1/admin/clients/{id}`.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use airouter_billing::{AccountId, Nanos};
use airouter_store::StoreError;
use airouter_store::client_admin::{Changed, ClientSettings};
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::one::{self, TaggedClient};
use super::settings;
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::{Usd, named};

const UNKNOWN_TIER: Problem = Problem::Invalid {
    field: "tier",
    expected: "the name of a tier",
};
const UNKNOWN_PLAN: Problem = Problem::Invalid {
    field: "plan",
    expected: "the name of a price plan",
};

/// What is to be changed; what is not named stays. Null lifts a limit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsChange {
    /// The price plan.
    plan: Option<String>,
    /// The tier whose monthly limit holds.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    tier: Option<Option<String>>,
    /// How far below zero the balance may go.
    credit_line: Option<Usd>,
    /// Requests a minute.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64)]
    requests_per_minute: Option<Option<NonZeroU32>>,
    /// Tokens a minute, of prompt and answer.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    tokens_per_minute: Option<Option<NonZeroU64>>,
    /// Requests at the same time.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64)]
    concurrent_requests: Option<Option<NonZeroU32>>,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

impl SettingsChange {
    fn of(&self, before: &ClientSettings) -> Result<ClientSettings, Problem> {
        let mut after = before.clone();
        if let Some(plan) = &self.plan {
            after.plan = names::name(plan).ok_or(UNKNOWN_PLAN)?;
        }
        if let Some(tier) = &self.tier {
            let tier = tier
                .as_ref()
                .map(|tier| names::name(tier).ok_or(UNKNOWN_TIER));
            after.tier = tier.transpose()?;
        }
        if let Some(Usd(line)) = self.credit_line {
            if !(Nanos::ZERO..=Usd::MOST).contains(&line) {
                return Err(Problem::Invalid {
                    field: "credit_line",
                    expected: "from 0 to 1000000000",
                });
            }
            after.credit_line = line;
        }
        if let Some(limit) = self.requests_per_minute {
            after.limits.requests_per_minute = limit;
        }
        if let Some(limit) = self.tokens_per_minute {
            if limit.is_some_and(|limit| i64::try_from(limit.get()).is_err()) {
                return Err(Problem::Invalid {
                    field: "tokens_per_minute",
                    expected: "less than 2^63",
                });
            }
            after.limits.tokens_per_minute = limit;
        }
        if let Some(limit) = self.concurrent_requests {
            after.limits.concurrent_requests = limit;
        }
        Ok(after)
    }
}

/// Change what an account may. `If-Match` is the `ETag` of what the caller has seen.
#[utoipa::path(
    patch,
    path = "/v1/admin/clients/{id}",
    tag = "admin",
    params(
        ("id" = crate::values::Id, Path, description = "The account's id"),
        ("If-Match" = String, Header, description = "The `ETag` of the account as the caller has seen it")
    ),
    request_body = SettingsChange,
    responses((status = 200, description = "The account as it is now", body = super::Client))
)]
pub(crate) async fn change_client(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    headers: HeaderMap,
    JsonBody(change): JsonBody<SettingsChange>,
) -> TaggedClient {
    let account = AccountId::new(id);
    let before = one::find(&shared, account).await?.settings;
    settings::check_seen(&headers, &before)?;
    let after = change.of(&before)?;
    let reason = change
        .reason
        .as_deref()
        .map(crate::audited::reason)
        .transpose()?;
    let mut entry = crate::audited::entry(&operator, address, "client.change", id, shared.now());
    entry.reason = reason;
    entry.before = Some(settings::json(&before)?);
    entry.after = Some(settings::json(&after)?);
    let changed = shared
        .store
        .change_client(account, &before, &after, &entry)
        .await
        .map_err(unknown_name)?;
    match changed {
        Changed::Yes => one::tagged(one::find(&shared, account).await?),
        Changed::Conflict => Err(Problem::ChangedMeanwhile),
        Changed::CreditLineInUse => Err(Problem::CreditLineInUse),
    }
}

/// A plan or a tier that does not exist is a wrong value.
fn unknown_name(error: StoreError) -> Problem {
    match error {
        StoreError::NotFound { what: "the tier" } => UNKNOWN_TIER,
        StoreError::NotFound { what: "the plan" } => UNKNOWN_PLAN,
        error => error.into(),
    }
}
