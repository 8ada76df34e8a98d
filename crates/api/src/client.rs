//! `/v1/client`: what a client may know of its own account.

pub(crate) mod balance;
pub(crate) mod recent_requests;
pub(crate) mod request;
pub(crate) mod usage;
