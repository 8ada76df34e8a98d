//! `/v1/auth/api-keys`: the keys that SDKs send.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod revoke;

use airouter_store::key_admin::KeyRecord;
use serde::Serialize;
use utoipa::ToSchema;

use crate::values::{Id, Time};

/// A key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKey {
    /// Its id.
    pub(crate) id: Id,
    /// What its owner called it.
    #[schema(example = "my laptop")]
    pub(crate) name: String,
    /// Enough of it to recognize it.
    #[schema(example = "sk-air-abc…xyz")]
    pub(crate) preview: String,
    /// The account that pays for it.
    pub(crate) payer_id: Id,
    /// Since when there is the key.
    pub(crate) created_at: Time,
    /// From when on it may not be used.
    pub(crate) expires_at: Option<Time>,
    /// Since when it is revoked.
    pub(crate) revoked_at: Option<Time>,
    /// When it was last used, to the minute or so.
    pub(crate) last_used_at: Option<Time>,
}

impl From<KeyRecord> for ApiKey {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: Id(key.id.get()),
            name: key.name,
            preview: key.preview,
            payer_id: Id(key.payer.get()),
            created_at: Time(key.created_at),
            expires_at: key.expires_at.map(Time),
            revoked_at: key.revoked_at.map(Time),
            last_used_at: key.last_used_at.map(Time),
        }
    }
}
