//! What can go wrong with a provider.

/// Why no client can be made of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProvider {
    /// The issuer or the redirect address is no URL.
    #[error("the provider's address is not a URL")]
    Url,
    /// The proxy isn't a URL.
    #[error("the proxy is not a URL")]
    Proxy,
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls,
}

/// Why nobody was logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The provider does not answer, or says that it can't.
    #[error("the provider does not answer: {0}")]
    Unavailable(String),
    /// The code is not valid, was used before, or belongs to another attempt.
    #[error("the provider does not take the code")]
    CodeRefused,
    /// What the provider says can't be relied on.
    #[error("the provider's answer is not valid: {0}")]
    Invalid(&'static str),
}
