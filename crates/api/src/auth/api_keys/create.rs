//! `POST /v1/auth/api-keys`.

use std::sync::Arc;

use airouter_auth::ClientKey;
use airouter_billing::ApiKeyId;
use airouter_store::clients::{ModelAccess, NewKey, RequestLimits};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApiKey;
use crate::answer::{Created, created};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::{Id, Time};

/// Keys of an account that are not revoked.
const MOST_KEYS: u64 = 1_000;

/// A key to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    /// What to call it.
    #[schema(example = "my laptop", min_length = 1, max_length = 200)]
    name: String,
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

/// Create a key that spends from the caller's account.
#[utoipa::path(
    post,
    path = "/v1/auth/api-keys",
    tag = "auth",
    request_body = NewApiKey,
    responses((status = 201, description = "The key, shown this once", body = CreatedApiKey))
)]
pub(crate) async fn create_api_key(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    JsonBody(request): JsonBody<NewApiKey>,
) -> Created<CreatedApiKey> {
    let name = names::name(&request.name).ok_or(Problem::Invalid {
        field: "name",
        expected: "one line of at most 200 bytes",
    })?;
    if shared.store.live_keys_of(login.account).await? >= MOST_KEYS {
        return Err(Problem::TooMany("keys"));
    }
    let key = ClientKey::generate().map_err(|error| {
        tracing::error!(%error, "no key could be made");
        Problem::Internal
    })?;
    let now = shared.now();
    let new = NewKey {
        id: ApiKeyId::new(Uuid::now_v7()),
        hash: key.hash(),
        preview: key.preview(),
        name,
        limits: RequestLimits::default(),
        caps: Vec::new(),
        models: ModelAccess::All,
        expires_at: None,
    };
    shared
        .store
        .create_key(login.account, None, &new, now)
        .await?;
    created(CreatedApiKey {
        key: key.expose().to_owned(),
        shown: ApiKey {
            id: Id(new.id.get()),
            name: new.name,
            preview: new.preview,
            payer_id: Id(login.account.get()),
            created_at: Time(now),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        },
    })
}
