//! Calls of the upstream's control API, bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, Proxy, Response, Url, redirect};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use webpki_roots::TLS_SERVER_ROOTS;

use crate::account::{Credits, KeyStatus, parse_key, parse_record};
use crate::activity::{ActivityRow, parse_activity};
use crate::error::ControlError;
use crate::generation::Generation;
use crate::models::{ModelList, parse_models};
use crate::retry_after::retry_after;

/// The list of models is by far the largest answer: about a megabyte in 2026.
const MAX_MODELS_BYTES: usize = 64 << 20;

/// A day has a row for every model at every endpoint that was used.
const MAX_ACTIVITY_BYTES: usize = 16 << 20;

/// Every other answer is a small record.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// Calls the control API of one upstream. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct ControlClient {
    http: Client,
    base_url: Url,
}

/// How long calls may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlTimeouts {
    /// To connect, with TLS.
    pub connect: Duration,
    /// For a whole call, to the last byte of the answer.
    pub call: Duration,
}

impl Default for ControlTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(30),
        }
    }
}

/// Why no client can be made of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientConfiguration {
    /// The base URL isn't one, isn't http or https, or carries a user name, password, query or fragment.
    #[error("the upstream's base URL is not a plain http or https URL")]
    BaseUrl,
    /// The proxy isn't a URL.
    #[error("the proxy is not a URL")]
    Proxy,
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls,
}

/// What an upstream says of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookedUp {
    /// Its record.
    Found(Box<Generation>),
    /// It knows the request, and will have the record: an AI Router says so, by when to ask again.
    NotYet,
    /// It has none. OpenRouter says this also of requests that have just ended: the record is written up to several
    /// seconds later.
    Unknown,
}

impl ControlClient {
    /// A client of the upstream at `base_url`, like `https://openrouter.ai/api/v1`. `https_proxy` is the proxy for
    /// https upstreams, a URL that may carry a user name and password; no other proxy is looked for.
    pub fn new(
        base_url: &str,
        timeouts: ControlTimeouts,
        https_proxy: Option<&SecretString>,
    ) -> Result<Self, InvalidClientConfiguration> {
        let mut http = Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls()?)
            // A redirect would carry the key elsewhere.
            .redirect(redirect::Policy::none())
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.call)
            .pool_max_idle_per_host(4);
        if let Some(proxy) = https_proxy {
            let proxy = Proxy::https(proxy.expose_secret());
            http = http.proxy(proxy.map_err(|_| InvalidClientConfiguration::Proxy)?);
        }
        let http = http.build().map_err(|_| InvalidClientConfiguration::Tls)?;
        Ok(Self {
            http,
            base_url: parse_base_url(base_url)?,
        })
    }

    /// All models with their list prices. The upstream asks for no key here; one that resells another's may, and may
    /// then answer with the prices of that key.
    pub async fn models(&self, key: Option<&SecretString>) -> Result<ModelList, ControlError> {
        // Without this, models that produce anything but text are left out.
        let url = self.url("models", &[("output_modalities", "all")]);
        parse_models(&self.get(url, key, MAX_MODELS_BYTES).await?)
    }

    /// The record of a request, by the id in its answer.
    pub async fn look_generation_up(
        &self,
        key: &SecretString,
        id: &str,
    ) -> Result<LookedUp, ControlError> {
        match self
            .record(self.url("generation", &[("id", id)]), key, "a generation")
            .await
        {
            Ok(generation) => Ok(LookedUp::Found(Box::new(generation))),
            Err(ControlError::NotFound {
                retry_after: Some(_),
            }) => Ok(LookedUp::NotYet),
            Err(ControlError::NotFound { retry_after: None }) => Ok(LookedUp::Unknown),
            Err(error) => Err(error),
        }
    }

    /// The record of a request, by the id in its answer; `None` if the upstream has none (yet).
    pub async fn generation(
        &self,
        key: &SecretString,
        id: &str,
    ) -> Result<Option<Generation>, ControlError> {
        match self.look_generation_up(key, id).await? {
            LookedUp::Found(generation) => Ok(Some(*generation)),
            LookedUp::NotYet | LookedUp::Unknown => Ok(None),
        }
    }

    /// The credit of the account that a management key belongs to.
    pub async fn credits(&self, management_key: &SecretString) -> Result<Credits, ControlError> {
        self.record(self.url("credits", &[]), management_key, "credits")
            .await
    }

    /// What the upstream says of this key.
    pub async fn key(&self, key: &SecretString) -> Result<KeyStatus, ControlError> {
        parse_key(
            &self
                .get(self.url("key", &[]), Some(key), MAX_RECORD_BYTES)
                .await?,
        )
    }

    /// What the account that a management key belongs to used on a completed UTC day of the last 30, written as
    /// `2026-11-20`; by model and endpoint. Rows of other days may be among them.
    pub async fn activity(
        &self,
        management_key: &SecretString,
        day: &str,
    ) -> Result<Vec<ActivityRow>, ControlError> {
        let url = self.url("activity", &[("date", day)]);
        parse_activity(
            &self
                .get(url, Some(management_key), MAX_ACTIVITY_BYTES)
                .await?,
        )
    }

    async fn record<T: DeserializeOwned>(
        &self,
        url: Url,
        key: &SecretString,
        what: &'static str,
    ) -> Result<T, ControlError> {
        let body = self.get(url, Some(key), MAX_RECORD_BYTES).await?;
        parse_record(&body, what)
    }

    async fn get(
        &self,
        url: Url,
        key: Option<&SecretString>,
        max_bytes: usize,
    ) -> Result<Vec<u8>, ControlError> {
        let mut request = self.http.get(url).header(ACCEPT, "application/json");
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, bearer(key)?);
        }
        let response = request.send().await?;
        match failure(response.status(), response.headers()) {
            Some(error) => Err(error),
            None => read_at_most(response, max_bytes).await,
        }
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!(
            "{}/{path}",
            self.base_url.path().trim_end_matches('/')
        ));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

/// TLS with the built-in root certificates, so that nothing depends on what the system has installed.
fn tls() -> Result<ClientConfig, InvalidClientConfiguration> {
    let roots = RootCertStore::from_iter(TLS_SERVER_ROOTS.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| InvalidClientConfiguration::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn parse_base_url(text: &str) -> Result<Url, InvalidClientConfiguration> {
    let url = Url::parse(text).map_err(|_| InvalidClientConfiguration::BaseUrl)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain {
        Ok(url)
    } else {
        Err(InvalidClientConfiguration::BaseUrl)
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue, ControlError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
        .map_err(|_| ControlError::Unauthorized)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a status other than 200 means. The body of an error is not read: the control plane acts on the status alone.
fn failure(status: StatusCode, headers: &HeaderMap) -> Option<ControlError> {
    match status.as_u16() {
        200 => None,
        401 => Some(ControlError::Unauthorized),
        402 => Some(ControlError::PaymentRequired),
        403 => Some(ControlError::Forbidden),
        404 => Some(ControlError::NotFound {
            retry_after: retry_after(headers),
        }),
        429 => Some(ControlError::RateLimited {
            retry_after: retry_after(headers),
        }),
        status @ 500.. => Some(ControlError::Server { status }),
        status => Some(ControlError::Refused { status }),
    }
}

async fn read_at_most(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, ControlError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > max_bytes - body.len() {
            return Err(ControlError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
