//! Master accounts: the operator's accounts at an upstream.

use airouter_auth::SealedSecret;
use airouter_billing::{Discount, MasterAccountId, Timestamp};
use async_trait::async_trait;

use crate::error::StoreError;

/// Whether a master account serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterAccountStatus {
    /// It does.
    Active,
    /// The operator has paused it.
    Paused,
}

/// A master account.
#[derive(Clone, Debug)]
pub struct MasterAccount {
    /// Its id; also the row that its sealed key is bound to.
    pub id: MasterAccountId,
    /// What the operator calls it; the label in metrics.
    pub name: String,
    /// The upstream's address, up to `/api/v1`.
    pub base_url: String,
    /// The inference key, sealed.
    pub key: SealedSecret,
    /// SHA-256 of the key in hex, to recognize it.
    pub key_fingerprint: String,
    /// The discount.
    pub discount: Discount,
    /// Whether it serves.
    pub status: MasterAccountStatus,
}

/// Master accounts.
#[async_trait]
pub trait MasterAccounts: Send + Sync + 'static {
    /// Adds one. [`StoreError::Exists`] when its key is known already.
    async fn add_master_account(
        &self,
        account: &MasterAccount,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// All, in the order in which they were added.
    async fn master_accounts(&self) -> Result<Vec<MasterAccount>, StoreError>;
}
