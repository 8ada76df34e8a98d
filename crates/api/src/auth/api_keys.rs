//! `/v1/auth/api-keys`: the keys that SDKs send.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod revoke;
