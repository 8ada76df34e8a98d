//! A new key, for whomever it is.

use std::num::{NonZeroU32, NonZeroU64};

use airouter_auth::{AddressAccess, ClientKey};
use airouter_billing::{AccountId, ApiKeyId, ModelAccess, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::{NewKey, RequestLimits};
use airouter_store::key_admin::{KeyHolder, KeySettings};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::settings::{self, SpendLimit};
use super::{ApiKey, find};
use crate::answer::{Created, created};
use crate::audited::Actor;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::Time;

/// Keys of an account that are not revoked.
const MOST_KEYS: u64 = 1_000;

/// A key to be created. What is not named is not limited.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    /// What to call it.
    #[schema(example = "my laptop", min_length = 1, max_length = 200)]
    name: String,
    /// The organization that pays for it, of which its owner must be a member; without one its owner pays.
    #[schema(value_type = Option<crate::values::Id>)]
    organization_id: Option<Uuid>,
    /// What it may spend.
    spend_limit: Option<SpendLimit>,
    /// Requests a day, from 00:00 UTC on.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64, example = 200)]
    requests_per_day: Option<NonZeroU32>,
    /// Requests a minute.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64)]
    requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, of prompt and answer.
    #[schema(value_type = Option<u64>, minimum = 1)]
    tokens_per_minute: Option<NonZeroU64>,
    /// Requests at the same time.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64)]
    concurrent_requests: Option<NonZeroU32>,
    /// The models that it may use: names as they are written, or their beginnings with a `*`.
    #[schema(min_items = 1, max_items = 256, example = json!(["openai/gpt-4o-mini"]))]
    allowed_models: Option<Vec<String>>,
    /// The addresses and networks from which it may be used.
    #[schema(min_items = 1, max_items = 64, example = json!(["192.0.2.0/24"]))]
    allowed_addresses: Option<Vec<String>>,
    /// From when on it may not be used.
    expires_at: Option<Time>,
}

/// A key that was just created.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedApiKey {
    /// The key itself. It is shown this once.
    #[schema(example = "sk-air-…")]
    key: String,
    #[serde(flatten)]
    shown: ApiKey,
}

impl NewApiKey {
    fn settings(self, now: Timestamp) -> Result<KeySettings, Problem> {
        let addresses = self.allowed_addresses.as_deref();
        Ok(KeySettings {
            name: settings::name(&self.name)?,
            limits: RequestLimits {
                requests_per_minute: self.requests_per_minute,
                tokens_per_minute: self.tokens_per_minute.map(settings::tokens).transpose()?,
                concurrent_requests: self.concurrent_requests,
            },
            spend_limit: self.spend_limit.map(settings::spend_limit).transpose()?,
            requests_per_day: self.requests_per_day.map(NonZeroU32::get),
            addresses: addresses
                .map(settings::addresses)
                .transpose()?
                .unwrap_or(AddressAccess::All),
            models: self
                .allowed_models
                .map(settings::models)
                .transpose()?
                .unwrap_or(ModelAccess::All),
            expires_at: self
                .expires_at
                .map(|at| settings::expiry(at, now))
                .transpose()?,
        })
    }
}

/// Creates a key of `owner`.
pub(crate) async fn issue(
    shared: &Shared,
    actor: &Actor,
    owner: AccountId,
    request: NewApiKey,
) -> Created<CreatedApiKey> {
    let now = shared.now();
    let payer = request.organization_id.map(AccountId::new);
    let settings = request.settings(now)?;
    if shared.store.live_keys_of(owner).await? >= MOST_KEYS {
        return Err(Problem::TooMany("keys"));
    }
    let key = ClientKey::generate().map_err(|error| {
        tracing::error!(%error, "no key could be made");
        Problem::Internal
    })?;
    let id = ApiKeyId::new(Uuid::now_v7());
    let mut entry = actor.entry("api_key.create", id.get(), now);
    entry.after = Some(settings::json(&settings)?);
    let new = NewKey {
        id,
        hash: key.hash(),
        preview: key.preview(),
        caps: settings.caps(),
        name: settings.name,
        limits: settings.limits,
        models: settings.models,
        addresses: settings.addresses,
        expires_at: settings.expires_at,
    };
    let issued = shared.store.issue_key(owner, payer, &new, &entry).await;
    issued.map_err(|error| match error {
        StoreError::NotFound { .. } => Problem::NotFound("organization"),
        error => error.into(),
    })?;
    let shown = find(shared, KeyHolder::Owner(owner), id.get(), now).await?;
    created(CreatedApiKey {
        key: key.expose().to_owned(),
        shown: ApiKey::new(shown, now),
    })
}
