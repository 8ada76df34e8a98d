//! `/v1/admin`: the operator's side.

pub(crate) mod aliases;
pub(crate) mod audit_log;
pub(crate) mod clients;
pub(crate) mod invitations;
pub(crate) mod logs;
pub(crate) mod master_accounts;
pub(crate) mod models;
pub(crate) mod operator_tokens;
pub(crate) mod plans;
pub(crate) mod prices;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod tiers;
