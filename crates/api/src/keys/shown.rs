//! A key as it is shown, alone or in a list.

use airouter_billing::{ApiKeyId, Timestamp};
use airouter_store::key_admin::{KeyHolder, KeyQuery, KeyRecord};
use axum::Json;
use http::header::{ETAG, HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::settings::{self, Reset};
use crate::answer::Answer;
use crate::page::{Page, PageQuery};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags;
use crate::values::{Id, Time, Usd};

/// A key, without the key itself. Null is no limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKey {
    /// Its id.
    id: Id,
    /// What its owner called it.
    #[schema(example = "my laptop")]
    name: String,
    /// Enough of it to recognize it.
    #[schema(example = "sk-air-abc…xyz")]
    preview: String,
    /// The account that it belongs to.
    owner_id: Id,
    /// The account that pays for it.
    payer_id: Id,
    /// What it may spend.
    spend_limit: Option<SpendLimitState>,
    /// Requests a day.
    #[schema(example = 200)]
    requests_per_day: Option<u32>,
    /// How many of them are left today.
    #[schema(example = 199)]
    requests_left_today: Option<u32>,
    /// Requests a minute.
    requests_per_minute: Option<u32>,
    /// Tokens a minute, of prompt and answer.
    tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    concurrent_requests: Option<u32>,
    /// The models that it may use: names, or their beginnings with a `*`.
    #[schema(example = json!(["openai/gpt-4o-mini"]))]
    allowed_models: Option<Vec<String>>,
    /// The networks from which it may be used.
    #[schema(example = json!(["192.0.2.0/24"]))]
    allowed_addresses: Option<Vec<String>>,
    /// Since when there is the key.
    created_at: Time,
    /// From when on it may not be used.
    expires_at: Option<Time>,
    /// Since when it is revoked.
    revoked_at: Option<Time>,
    /// When it was last used, to the minute or so.
    last_used_at: Option<Time>,
}

/// A spend limit, and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SpendLimitState {
    /// How much the key may spend in a period.
    amount: Usd,
    /// How often it starts anew.
    reset: Reset,
    /// What is left in the present period.
    left: Usd,
    /// When it starts anew.
    resets_at: Option<Time>,
}

impl ApiKey {
    /// The key as it is at `now`.
    pub(crate) fn new(key: KeyRecord, now: Timestamp) -> Self {
        let settings = key.settings;
        let limits = settings.limits;
        let spend_limit = settings.spend_limit.zip(key.left.spend);
        Self {
            id: Id(key.id.get()),
            preview: key.preview,
            owner_id: Id(key.owner.get()),
            payer_id: Id(key.payer.get()),
            name: settings.name,
            spend_limit: spend_limit.map(|(limit, left)| SpendLimitState {
                amount: Usd(limit.amount),
                reset: limit.period.into(),
                left: Usd(left),
                resets_at: limit.period.end(now).map(Time),
            }),
            requests_per_day: settings.requests_per_day,
            requests_left_today: key.left.requests,
            requests_per_minute: limits.requests_per_minute.map(Into::into),
            tokens_per_minute: limits.tokens_per_minute.map(Into::into),
            concurrent_requests: limits.concurrent_requests.map(Into::into),
            allowed_models: match settings.models {
                airouter_billing::ModelAccess::All => None,
                airouter_billing::ModelAccess::Only(models) => Some(models),
            },
            allowed_addresses: settings.addresses.texts(),
            created_at: Time(key.created_at),
            expires_at: settings.expires_at.map(Time),
            revoked_at: key.revoked_at.map(Time),
            last_used_at: key.last_used_at.map(Time),
        }
    }
}

/// One key with the tag of its settings.
pub(crate) type TaggedKey = Result<([(HeaderName, HeaderValue); 1], Json<ApiKey>), Problem>;

/// A key with its tag.
pub(crate) fn tagged(key: KeyRecord, now: Timestamp) -> TaggedKey {
    let tag = tags::tag(&settings::json(&key.settings)?)?;
    Ok(([(ETAG, tag)], Json(ApiKey::new(key, now))))
}

/// One of the holder's keys.
pub(crate) async fn find(
    shared: &Shared,
    holder: KeyHolder,
    id: Uuid,
    now: Timestamp,
) -> Result<KeyRecord, Problem> {
    let found = shared.store.key_of(holder, ApiKeyId::new(id), now).await?;
    found.ok_or(Problem::NotFound("key"))
}

/// A page of the holder's keys.
pub(crate) async fn page(
    shared: &Shared,
    holder: KeyHolder,
    query: &PageQuery,
) -> Answer<Page<ApiKey>> {
    let limit = query.limit()?;
    let now = shared.now();
    let keys = KeyQuery {
        holder,
        after: query.after()?.map(ApiKeyId::new),
        limit: limit + 1,
        now,
    };
    let found = shared.store.keys_of(&keys).await?;
    Ok(Json(Page::of(
        found,
        limit,
        |key| key.id.get(),
        |key| ApiKey::new(key, now),
    )))
}
