//! `/v1/auth`: logins, sessions, and the caller's own keys.

pub(crate) mod api_keys;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod me;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod sessions;
mod tokens;
mod user;
