//! `/v1/auth/sessions`: where the caller is logged in.

pub(crate) mod end;
pub(crate) mod list;
