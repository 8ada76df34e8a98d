//! Client keys as their owners see them.

use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use async_trait::async_trait;

use crate::error::StoreError;

/// A client key as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key's id.
    pub id: ApiKeyId,
    /// What its owner called it.
    pub name: String,
    /// How it may be shown: `sk-air-abc…xyz`.
    pub preview: String,
    /// Who pays for it.
    pub payer: AccountId,
    /// Since when there is the key.
    pub created_at: Timestamp,
    /// From when on it may not be used.
    pub expires_at: Option<Timestamp>,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// Client keys by the account that owns them.
#[async_trait]
pub trait KeyAdmin: Send + Sync + 'static {
    /// At most `limit` keys of an account, revoked ones too, in the order of their ids, after `after`.
    async fn keys_of(
        &self,
        account: AccountId,
        after: Option<ApiKeyId>,
        limit: u16,
    ) -> Result<Vec<KeyRecord>, StoreError>;

    /// How many keys of the account are not revoked.
    async fn live_keys_of(&self, account: AccountId) -> Result<u64, StoreError>;

    /// Revokes a key of `account`; one that is revoked stays so since the first time. [`StoreError::NotFound`] when the
    /// account has none of this id.
    async fn revoke_key_of(
        &self,
        account: AccountId,
        key: ApiKeyId,
        at: Timestamp,
    ) -> Result<(), StoreError>;
}
