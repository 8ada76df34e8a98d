//! The provider of logins, if the operator has named one.

use airouter_oidc::{Provider, ProviderError};

use crate::problem::Problem;

/// A provider that people may log in at.
#[derive(Debug)]
pub struct LoginProvider {
    /// What pages call it.
    pub name: String,
    /// What asks it.
    pub client: Provider,
}

impl LoginProvider {
    /// The path to which a provider sends browsers back.
    pub const CALLBACK: &str = "/v1/auth/oidc/callback";
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Unavailable(_) => {
                tracing::warn!(%error, "the provider of logins can't be asked");
                Self::ProviderUnavailable
            }
            ProviderError::CodeRefused => Self::LoginNotBegun,
            ProviderError::Invalid(_) => {
                tracing::warn!(%error, "the provider of logins can't be relied on");
                Self::ProviderNotReliable
            }
        }
    }
}
