//! `/v1/admin/clients/{id}/api-keys`: the keys that belong to an account, and those that it pays for.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod revoke;
