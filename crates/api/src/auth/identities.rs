//! `/v1/auth/identities`: who the caller is at the provider.

pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod unlink;
