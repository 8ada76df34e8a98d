//! What is persisted: the interface that every database adapter implements, and the suite that it must pass.
//!
//! An adapter persists and decides nothing: what a number means and how it is computed is settled in `airouter-billing`.
//! The traits are split by who needs them; [`Store`] is all of them. What they mean is fixed by [`conformance`].

pub mod clients;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod idempotency;
pub mod leases;
pub mod ledger;
pub mod loss_rows;
pub mod master_accounts;
pub mod prices;
pub mod reports;
pub mod settlements;
pub mod shared_texts;
pub mod verification;

pub use clients::Clients;
pub use error::StoreError;
pub use idempotency::Idempotency;
pub use leases::Leases;
pub use ledger::Ledger;
pub use master_accounts::MasterAccounts;
pub use prices::Prices;
pub use reports::Reports;
pub use settlements::Settlements;

/// A database with everything in it.
pub trait Store:
    Clients + Idempotency + Leases + Ledger + MasterAccounts + Prices + Reports + Settlements
{
}

impl<T: Clients + Idempotency + Leases + Ledger + MasterAccounts + Prices + Reports + Settlements>
    Store for T
{
}
