//! `/v1/admin`: the operator's side.

pub(crate) mod audit_log;
pub(crate) mod clients;
pub(crate) mod invitations;
pub(crate) mod operator_tokens;
