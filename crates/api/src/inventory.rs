//! What the operator may do to master accounts and to what is on sale, and what not: for the command line and the JSON API
//! alike.

pub mod master_accounts;
pub mod sale;

use airouter_store::StoreError;

use crate::problem::Problem;
use crate::upstreams::SealingFailed;

/// Why it can't be.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The name is no name.
    #[error("it needs a name: one line of at most 200 bytes")]
    Name,
    /// Another account has the name.
    #[error("there is a master account {0} already")]
    NameTaken(String),
    /// There are as many accounts as there may be.
    #[error("there are as many master accounts as there may be")]
    TooManyAccounts,
    /// The account has as many keys as it may have.
    #[error("the account has as many keys as it may have")]
    TooManyKeys,
    /// The discount is none.
    #[error("a discount is at least 0 and less than 100 percent, with at most four decimal places")]
    Discount,
    /// The address is no upstream's.
    #[error("{0}")]
    Address(String),
    /// A server has no address unless it is said.
    #[error("a compatible server needs an address")]
    AddressMissing,
    /// An account at OpenRouter has no key.
    #[error("an account at OpenRouter needs a key")]
    KeyMissing,
    /// What was sent is no key.
    #[error("what was read is not a key: expected one line of at most 512 characters, no spaces")]
    NotAKey,
    /// A server has no management key.
    #[error("a compatible server has no credit to follow, and no management key")]
    NoManagementKey,
    /// OpenRouter's prices are its own.
    #[error(
        "{0} is at OpenRouter, whose prices are its own: only accounts of compatible servers have a price table"
    )]
    NoPriceTable(String),
    /// It is the last key of an account that serves.
    #[error("this is its last key: add another one first, or pause the account")]
    LastKey,
    /// There is no such model.
    #[error("the price book has no model '{0}'")]
    UnknownModel(String),
    /// The default must be something that is sold.
    #[error("'{0}' is neither an alias nor a model on sale")]
    NotSold(String),
    /// The key can't be sealed.
    #[error(transparent)]
    Sealing(#[from] SealingFailed),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<InventoryError> for Problem {
    fn from(error: InventoryError) -> Self {
        let unacceptable = |field, error: &InventoryError| Self::Unacceptable {
            field,
            reason: error.to_string(),
        };
        match &error {
            InventoryError::Name => unacceptable("name", &error),
            InventoryError::NameTaken(_) => Self::Exists("a master account of this name"),
            InventoryError::TooManyAccounts => Self::TooMany("master accounts"),
            InventoryError::TooManyKeys => Self::TooMany("keys"),
            InventoryError::Discount => unacceptable("discount_percent", &error),
            InventoryError::Address(_) | InventoryError::AddressMissing => {
                unacceptable("base_url", &error)
            }
            InventoryError::KeyMissing | InventoryError::NotAKey => unacceptable("key", &error),
            InventoryError::NoManagementKey => Self::OfAnotherKind(
                "A compatible server has no credit to follow, and no management key.",
            ),
            InventoryError::NoPriceTable(_) => Self::OfAnotherKind(
                "OpenRouter's prices are its own: only accounts of compatible servers have a price table.",
            ),
            InventoryError::LastKey => Self::LastKey,
            InventoryError::UnknownModel(_) => unacceptable("models", &error),
            InventoryError::NotSold(_) => unacceptable("model", &error),
            InventoryError::Sealing(_) => {
                tracing::error!(%error, "a key of a master account can't be sealed");
                Self::Internal
            }
            InventoryError::Store(_) => match error {
                InventoryError::Store(error) => error.into(),
                _ => Self::Internal,
            },
        }
    }
}
