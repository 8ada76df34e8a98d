//! What the control plane needs of upstreams: keys are sealed, accounts tested, and this process tells how they are. Whoever
//! runs the control plane provides it.

use airouter_billing::{Discount, MasterAccountId, Timestamp};
use airouter_store::master_accounts::{MasterAccount, MasterAccountKey, SealedKey};
use async_trait::async_trait;
use secrecy::SecretString;
use uuid::Uuid;

/// A key can't be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key can't be sealed")]
pub struct SealingFailed;

/// What an upstream said to a key, in our words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it accepted the key.
    pub is_accepted: bool,
    /// What that means.
    pub words: String,
}

/// What upstreams said to the keys of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// To each inference key, by its id, in their order.
    pub keys: Vec<(Uuid, Said)>,
    /// To the management key, if there is one.
    pub management_key: Option<Said>,
}

impl Tested {
    /// Whether every key was accepted, and there is one.
    pub fn is_all_well(&self) -> bool {
        let mut said = self.keys.iter().map(|(_, said)| said);
        !self.keys.is_empty()
            && said.all(|said| said.is_accepted)
            && self
                .management_key
                .as_ref()
                .is_none_or(|said| said.is_accepted)
    }
}

/// Whether requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// They do.
    All,
    /// One finds out whether they may.
    One,
    /// None does, until then.
    None(Timestamp),
}

/// How a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHealth {
    /// Its id.
    pub key: Uuid,
    /// Whether requests pass.
    pub passing: Passing,
    /// Requests that run on it.
    pub in_flight: usize,
}

/// How an account is at this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether requests pass.
    pub passing: Passing,
    /// Requests that run on it.
    pub in_flight: usize,
    /// Requests of the last minute.
    pub recent: u64,
    /// Its keys.
    pub keys: Vec<KeyHealth>,
}

/// What the control plane needs of upstreams.
#[async_trait]
pub trait Upstreams: Send + Sync + 'static {
    /// Where accounts at OpenRouter are unless it is said.
    fn default_base_url(&self) -> &str;

    /// The discount of accounts at OpenRouter unless it is said.
    fn default_discount(&self) -> Option<Discount>;

    /// Why an address can't be an upstream's, if so.
    fn fault_of_address(&self, base_url: &str) -> Option<String>;

    /// Seals an inference key for its row; the first one has the account's id. `None` is that of an upstream that wants none.
    fn seal_key(
        &self,
        account: MasterAccountId,
        id: Uuid,
        key: Option<&SecretString>,
    ) -> Result<SealedKey, SealingFailed>;

    /// Seals the management key of an account.
    fn seal_management_key(
        &self,
        account: MasterAccountId,
        key: &SecretString,
    ) -> Result<SealedKey, SealingFailed>;

    /// Enough of a key to recognize it and too little to use it; `None` where it can't be opened.
    fn preview(&self, account: &MasterAccount, key: &MasterAccountKey) -> Option<String>;

    /// Whether one of its keys is in the environment, which then has the last word about its address and discount.
    fn is_in_environment(&self, account: &MasterAccount) -> bool;

    /// Asks the upstream with each key of an account, within a bound of time.
    async fn test(&self, account: &MasterAccount) -> Tested;

    /// How an account is at this replica, if requests know it.
    fn health(&self, account: MasterAccountId) -> Option<Health>;
}
