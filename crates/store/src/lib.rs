//! What is persisted: the interface that every database adapter implements, and the suite that it must pass.
//!
//! An adapter persists and decides nothing: what a number means and how it is computed is settled in `airouter-billing`.
//! The traits are split by who needs them; [`Store`] is all of them. What they mean is fixed by [`conformance`].

pub mod attempts;
pub mod audit;
pub mod backup;
pub mod client_admin;
pub mod clients;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod erasure;
pub mod error;
pub mod free_quota;
pub mod idempotency;
pub mod identities;
pub mod invitations;
pub mod key_admin;
pub mod leases;
pub mod ledger;
pub mod logins;
pub mod loss_rows;
pub mod mailed_tokens;
pub mod master_accounts;
pub mod operator_tokens;
pub mod organizations;
pub mod plans;
pub mod prices;
pub mod reconciliation;
pub mod refunds;
pub mod reports;
pub mod request_rows;
pub mod requests;
pub mod rollups;
pub mod sale;
pub mod schedule;
pub mod second_factors;
pub mod seen;
pub mod settlements;
pub mod shared_texts;
pub mod tiers;
pub mod usage;
pub mod verification;

pub use attempts::Attempts;
pub use audit::Audit;
pub use client_admin::ClientAdmin;
pub use clients::Clients;
pub use erasure::Erasure;
pub use error::StoreError;
pub use free_quota::FreeQuota;
pub use idempotency::Idempotency;
pub use identities::Identities;
pub use invitations::Invitations;
pub use key_admin::KeyAdmin;
pub use leases::Leases;
pub use ledger::Ledger;
pub use logins::Logins;
pub use mailed_tokens::MailedTokens;
pub use master_accounts::MasterAccounts;
pub use operator_tokens::OperatorTokens;
pub use organizations::Organizations;
pub use plans::Plans;
pub use prices::Prices;
pub use reconciliation::Reconciliation;
pub use refunds::Refunds;
pub use reports::Reports;
pub use requests::Requests;
pub use rollups::Rollups;
pub use sale::Sale;
pub use schedule::Schedule;
pub use second_factors::SecondFactors;
pub use seen::Seen;
pub use settlements::Settlements;
pub use tiers::Tiers;
pub use usage::Usage;

/// A database with everything in it.
pub trait Store:
    Attempts
    + Audit
    + ClientAdmin
    + Clients
    + Erasure
    + FreeQuota
    + Idempotency
    + Identities
    + Invitations
    + KeyAdmin
    + Leases
    + Ledger
    + Logins
    + MailedTokens
    + MasterAccounts
    + OperatorTokens
    + Organizations
    + Plans
    + Prices
    + Reconciliation
    + Refunds
    + Reports
    + Requests
    + Rollups
    + Sale
    + Schedule
    + SecondFactors
    + Settlements
    + Tiers
    + Usage
{
}

impl<T> Store for T where
    T: Attempts
        + Audit
        + ClientAdmin
        + Clients
        + Erasure
        + FreeQuota
        + Idempotency
        + Identities
        + Invitations
        + KeyAdmin
        + Leases
        + Ledger
        + Logins
        + MailedTokens
        + MasterAccounts
        + OperatorTokens
        + Organizations
        + Plans
        + Prices
        + Reconciliation
        + Refunds
        + Reports
        + Requests
        + Rollups
        + Sale
        + Schedule
        + SecondFactors
        + Settlements
        + Tiers
        + Usage
{
}
