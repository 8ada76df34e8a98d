//! OpenID Connect, as the client of one provider: the authorization code flow (OpenID Connect Core 1.0 §3.1) with PKCE (RFC
//! 7636). [`Provider`] asks, [`id_token`] judges what it says of somebody, [`Attempt`] is what one login must come back with.

mod attempt;
mod discovery;
mod error;
mod http_client;
mod id_token;
mod provider;

pub use attempt::{Attempt, NoAttempt};
pub use error::{InvalidProvider, ProviderError};
pub use provider::{Callback, Identity, Provider, ProviderSettings, is_issuer};
