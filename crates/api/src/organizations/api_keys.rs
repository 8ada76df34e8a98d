//! `/v1/organizations/{id}/api-keys`: the keys that spend from an organization.

pub(crate) mod list;
pub(crate) mod revoke;
