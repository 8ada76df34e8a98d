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
pub mod plans;
pub mod prices;
pub mod reconciliation;
pub mod reports;
pub mod sale;
pub mod settlements;
pub mod shared_texts;
pub mod verification;

pub use clients::Clients;
pub use error::StoreError;
pub use idempotency::Idempotency;
pub use leases::Leases;
pub use ledger::Ledger;
pub use master_accounts::MasterAccounts;
pub use plans::Plans;
pub use prices::Prices;
pub use reconciliation::Reconciliation;
pub use reports::Reports;
pub use sale::Sale;
pub use settlements::Settlements;

/// A database with everything in it.
pub trait Store:
    Clients
    + Idempotency
    + Leases
    + Ledger
    + MasterAccounts
    + Plans
    + Prices
    + Reconciliation
    + Reports
    + Sale
    + Settlements
{
}

impl<T> Store for T where
    T: Clients
        + Idempotency
        + Leases
        + Ledger
        + MasterAccounts
        + Plans
        + Prices
        + Reconciliation
        + Reports
        + Sale
        + Settlements
{
}
