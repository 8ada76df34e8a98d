//! Calls of a provider, bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use reqwest::{Client, Proxy, RequestBuilder, redirect};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use webpki_roots::TLS_SERVER_ROOTS;

use crate::error::{InvalidProvider, ProviderError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For a whole call. Four of them, the most that a login needs, are within what the control plane waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Metadata, keys, tokens and claims are small.
const MAX_BYTES: usize = 512 << 10;

/// An answer that came whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body of a 200.
    pub(crate) fn ok(self) -> Result<Vec<u8>, ProviderError> {
        match self.status {
            StatusCode::OK => Ok(self.body),
            status => Err(ProviderError::Unavailable(format!("status {status}"))),
        }
    }
}

/// A client that trusts the built-in root certificates and goes through no proxy but this one.
pub(crate) fn new(https_proxy: Option<&SecretString>) -> Result<Client, InvalidProvider> {
    let roots = RootCertStore::from_iter(TLS_SERVER_ROOTS.iter().cloned());
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| InvalidProvider::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls)
        // A redirect would carry the secret elsewhere.
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .pool_max_idle_per_host(2);
    if let Some(proxy) = https_proxy {
        let proxy = Proxy::https(proxy.expose_secret()).map_err(|_| InvalidProvider::Proxy)?;
        client = client.proxy(proxy);
    }
    client.build().map_err(|_| InvalidProvider::Tls)
}

/// Sends a request and reads the whole answer.
pub(crate) async fn answer(request: RequestBuilder) -> Result<Answer, ProviderError> {
    let mut response = request.send().await.map_err(away)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if chunk.len() > MAX_BYTES - body.len() {
            return Err(ProviderError::Invalid("an answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        body,
    })
}

/// The error without its address, which may hold a code.
fn away(error: reqwest::Error) -> ProviderError {
    ProviderError::Unavailable(error.without_url().to_string())
}
