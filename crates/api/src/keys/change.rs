//! A change of what is set of a key, whoever makes it.

use std::num::{NonZeroU32, NonZeroU64};

use airouter_auth::AddressAccess;
use airouter_billing::{ApiKeyId, ModelAccess, Timestamp};
use airouter_store::client_admin::Changed;
use airouter_store::key_admin::{self, KeyHolder, KeySettings};
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::settings::{self, SpendLimit};
use super::{TaggedKey, find, tagged};
use crate::audited::Actor;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags;
use crate::values::{Time, named};

/// What is to be changed; what is not named stays. Null lifts a limit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyChange {
    /// What to call it.
    #[schema(min_length = 1, max_length = 200, example = "my desktop")]
    name: Option<String>,
    /// What it may spend. What it has spent in the period that runs counts.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<SpendLimit>)]
    spend_limit: Option<Option<SpendLimit>>,
    /// Requests a day, from 00:00 UTC on. Those of today count.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64)]
    requests_per_day: Option<Option<NonZeroU32>>,
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
    /// The models that it may use: names as they are written, or their beginnings with a `*`.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 256)]
    allowed_models: Option<Option<Vec<String>>>,
    /// The addresses and networks from which it may be used.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 64)]
    allowed_addresses: Option<Option<Vec<String>>>,
    /// From when on it may not be used.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Time>)]
    expires_at: Option<Option<Time>>,
}

impl ApiKeyChange {
    fn of(self, before: &KeySettings, now: Timestamp) -> Result<KeySettings, Problem> {
        let mut after = before.clone();
        if let Some(name) = &self.name {
            after.name = settings::name(name)?;
        }
        if let Some(limit) = self.spend_limit {
            after.spend_limit = limit.map(settings::spend_limit).transpose()?;
        }
        if let Some(limit) = self.requests_per_day {
            after.requests_per_day = limit.map(NonZeroU32::get);
        }
        if let Some(limit) = self.requests_per_minute {
            after.limits.requests_per_minute = limit;
        }
        if let Some(limit) = self.tokens_per_minute {
            after.limits.tokens_per_minute = limit.map(settings::tokens).transpose()?;
        }
        if let Some(limit) = self.concurrent_requests {
            after.limits.concurrent_requests = limit;
        }
        if let Some(models) = self.allowed_models {
            let models = models.map(settings::models).transpose()?;
            after.models = models.unwrap_or(ModelAccess::All);
        }
        if let Some(addresses) = self.allowed_addresses {
            let addresses = addresses.as_deref().map(settings::addresses).transpose()?;
            after.addresses = addresses.unwrap_or(AddressAccess::All);
        }
        if let Some(at) = self.expires_at {
            let at = at.map(|at| settings::expiry(at, now)).transpose()?;
            after.expires_at = at;
        }
        Ok(after)
    }
}

/// Changes one of the holder's keys, as the caller has seen it.
pub(crate) async fn change(
    shared: &Shared,
    actor: &Actor,
    (holder, id): (KeyHolder, Uuid),
    headers: &HeaderMap,
    request: ApiKeyChange,
) -> TaggedKey {
    let now = shared.now();
    let before = find(shared, holder, id, now).await?.settings;
    let seen = settings::json(&before)?;
    tags::check_seen(headers, &seen)?;
    let after = request.of(&before, now)?;
    let mut audit = actor.entry("api_key.change", id, now);
    audit.before = Some(seen);
    audit.after = Some(settings::json(&after)?);
    let change = key_admin::KeyChange {
        expected: before,
        settings: after,
        audit,
    };
    let changed = shared
        .store
        .change_key(holder, ApiKeyId::new(id), &change)
        .await?;
    match changed {
        Changed::Yes => tagged(find(shared, holder, id, now).await?, now),
        Changed::Conflict | Changed::CreditLineInUse => Err(Problem::ChangedMeanwhile),
    }
}

/// Revokes one of the holder's keys.
pub(crate) async fn revoke(
    shared: &Shared,
    actor: &Actor,
    holder: KeyHolder,
    id: Uuid,
) -> Result<(), Problem> {
    let audit = actor.entry("api_key.revoke", id, shared.now());
    shared
        .store
        .revoke_key_of(holder, ApiKeyId::new(id), &audit)
        .await?;
    Ok(())
}
