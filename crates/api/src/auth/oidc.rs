//! `/v1/auth/oidc`: logging in at a provider (OpenID Connect).

pub(crate) mod begin;
pub(crate) mod callback;
mod decision;
mod note;
pub(crate) mod shown;

pub(crate) use note::{Authorization, Purpose, begun};
