//! `/v1/auth`: logins, sessions, and the caller's own keys.

pub(crate) mod api_keys;
mod confirmed;
pub(crate) mod identities;
mod links;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod me;
mod new_password;
pub(crate) mod oidc;
pub(crate) mod password;
pub(crate) mod password_reset;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod second_factor;
pub(crate) mod sessions;
mod tokens;
mod user;
pub(crate) mod verify_email;
