//! One provider: where to send a browser, and who came back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use form_urlencoded::Serializer;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::attempt::Attempt;
use crate::discovery::{self, AnswersNameIssuer, ClientSecretIn, Metadata};
use crate::error::{InvalidProvider, ProviderError};
use crate::http_client::{self, answer};
use crate::id_token::{self, Claims, Expected, IdTokenError};

/// Metadata and keys are asked for again after so long: a key that the provider took back is not trusted for ever.
const KEPT: Duration = Duration::from_secs(3_600);
/// Keys are not asked for again sooner than this, whatever tokens name.
const KEYS_AT_LEAST: Duration = Duration::from_secs(5);
/// After it did not answer, a provider is left alone for so long.
const PAUSE: Duration = Duration::from_secs(2);
/// Most keys of a provider.
const MOST_KEYS: usize = 100;

/// Whose logins are taken, and as which client.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The provider's issuer, to the letter.
    pub issuer: String,
    /// How the provider knows this service.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretString,
    /// What is asked for, with spaces in between; `openid` is among it.
    pub scopes: String,
    /// Where the provider sends browsers back to.
    pub redirect_uri: String,
    /// Proxy for an https provider.
    pub https_proxy: Option<SecretString>,
}

/// A provider of logins.
#[derive(Debug)]
pub struct Provider {
    settings: ProviderSettings,
    http: Client,
    known: Mutex<Known>,
}

/// What is known of a provider. Whoever finds out more holds it: one asks for all who wait.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, Instant)>,
    keys: Option<(Arc<JwkSet>, Instant)>,
    failed: Option<(ProviderError, Instant)>,
}

/// What a browser brought back.
#[derive(Clone, Copy, Debug)]
pub struct Callback<'a> {
    /// To be exchanged, once.
    pub code: &'a str,
    /// Who it says has sent it (RFC 9207).
    pub issuer: Option<&'a str>,
}

/// Somebody, as the provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who it is: never given to another one.
    pub subject: String,
    /// The e-mail address.
    pub email: Option<String>,
    /// Whether the provider says that the address is that one's.
    pub email_verified: bool,
    /// The name.
    pub name: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

/// Whether a provider may be asked there: over TLS, or on this very host.
pub(crate) fn is_provider_url(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let is_local = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback());
    url.username().is_empty()
        && url.password().is_none()
        && match url.scheme() {
            "https" => !host.is_empty(),
            "http" => is_local,
            _ => false,
        }
}

/// Whether a text can be an issuer: the URL of one that may be asked, without query and fragment (Discovery 1.0 §3).
pub fn is_issuer(text: &str) -> bool {
    Url::parse(text)
        .is_ok_and(|url| is_provider_url(&url) && url.query().is_none() && url.fragment().is_none())
}

impl Provider {
    /// Asks nobody yet.
    pub fn new(settings: ProviderSettings) -> Result<Self, InvalidProvider> {
        if !is_issuer(&settings.issuer) || Url::parse(&settings.redirect_uri).is_err() {
            return Err(InvalidProvider::Url);
        }
        Ok(Self {
            http: http_client::new(settings.https_proxy.as_ref())?,
            settings,
            known: Mutex::default(),
        })
    }

    /// The provider's issuer: with it, subjects are known by.
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Where a browser must go for this attempt.
    pub async fn authorization_url(&self, attempt: &Attempt) -> Result<String, ProviderError> {
        let metadata = self.metadata().await?;
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect_uri),
            ("scope", &self.settings.scopes),
            ("state", &attempt.state()),
            ("nonce", &attempt.nonce()),
            ("code_challenge", &attempt.challenge()),
            ("code_challenge_method", "S256"),
        ]);
        Ok(url.into())
    }

    /// Who came back from this attempt, at `now` in seconds since the epoch.
    pub async fn identity(
        &self,
        attempt: &Attempt,
        callback: Callback<'_>,
        now: i64,
    ) -> Result<Identity, ProviderError> {
        let metadata = self.metadata().await?;
        let is_its_own = match callback.issuer {
            Some(issuer) => issuer == self.settings.issuer,
            None => metadata.answers_name_issuer == AnswersNameIssuer::Perhaps,
        };
        if !is_its_own {
            return Err(ProviderError::Invalid("another provider sent the code"));
        }
        let tokens = self.exchange(&metadata, attempt, callback.code).await?;
        let mut claims = self.verified(&metadata, &tokens, attempt, now).await?;
        if let (None, Some(endpoint), Some(token)) = (
            &claims.email,
            &metadata.userinfo_endpoint,
            &tokens.access_token,
        ) {
            claims = self.told(endpoint, token, claims).await?;
        }
        let is_yes = |value: &Value| *value == Value::Bool(true) || value == "true";
        Ok(Identity {
            subject: claims.sub,
            email: claims.email,
            email_verified: claims.email_verified.as_ref().is_some_and(is_yes),
            name: claims.name,
        })
    }

    /// The tokens for a code (RFC 6749 §4.1.3).
    async fn exchange(
        &self,
        metadata: &Metadata,
        attempt: &Attempt,
        code: &str,
    ) -> Result<Tokens, ProviderError> {
        let (id, secret) = (&self.settings.client_id, &self.settings.client_secret);
        let mut request = self
            .http
            .post(metadata.token_endpoint.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if metadata.client_secret == ClientSecretIn::Header {
            request = request.header(AUTHORIZATION, basic(id, secret)?);
        }
        let form = self.form(metadata.client_secret, attempt, code);
        let answered = answer(request.body(form)).await?;
        match answered.status {
            StatusCode::OK => serde_json::from_slice(&answered.body)
                .map_err(|_| ProviderError::Invalid("there is no ID token")),
            StatusCode::BAD_REQUEST => Err(ProviderError::CodeRefused),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(ProviderError::Invalid("it does not take the client secret"))
            }
            status => Err(ProviderError::Unavailable(format!("status {status}"))),
        }
    }

    fn form(&self, secret_in: ClientSecretIn, attempt: &Attempt, code: &str) -> String {
        let mut form = Serializer::new(String::new());
        form.extend_pairs([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.settings.redirect_uri),
            ("code_verifier", &attempt.verifier()),
        ]);
        if secret_in == ClientSecretIn::Body {
            form.append_pair("client_id", &self.settings.client_id)
                .append_pair("client_secret", self.settings.client_secret.expose_secret());
        }
        form.finish()
    }

    /// What the ID token says. A key that is not known may be new: then the keys are asked for again.
    async fn verified(
        &self,
        metadata: &Metadata,
        tokens: &Tokens,
        attempt: &Attempt,
        now: i64,
    ) -> Result<Claims, ProviderError> {
        let nonce = attempt.nonce();
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &nonce,
            now,
        };
        let mut verified = Err(IdTokenError::UnknownKey);
        for at_most in [KEPT, KEYS_AT_LEAST] {
            if verified != Err(IdTokenError::UnknownKey) {
                break;
            }
            let keys = self.keys(metadata, at_most).await?;
            verified = id_token::verify(&tokens.id_token, &keys, expected);
        }
        verified.map_err(|error| match error {
            IdTokenError::UnknownKey => {
                ProviderError::Invalid("the ID token was signed with none of the provider's keys")
            }
            IdTokenError::Invalid(why) => ProviderError::Invalid(why),
        })
    }

    /// What the provider says of the same one where the ID token does not name an address (§5.3).
    async fn told(
        &self,
        endpoint: &Url,
        access_token: &str,
        claims: Claims,
    ) -> Result<Claims, ProviderError> {
        let request = self
            .http
            .get(endpoint.clone())
            .header(ACCEPT, "application/json")
            .header(
                AUTHORIZATION,
                secret_header(&format!("Bearer {access_token}"))?,
            );
        let told: Claims = serde_json::from_slice(&answer(request).await?.ok()?)
            .map_err(|_| ProviderError::Invalid("what it says of the user can't be read"))?;
        if told.sub != claims.sub {
            return Err(ProviderError::Invalid("it speaks of another user"));
        }
        Ok(told)
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        let mut known = self.known.lock().await;
        if let Some((metadata, at)) = &known.metadata
            && at.elapsed() < KEPT
        {
            return Ok(Arc::clone(metadata));
        }
        known.check_pause()?;
        let issuer = &self.settings.issuer;
        let url = format!("{}{}", issuer.trim_end_matches('/'), discovery::PATH);
        let asked = async {
            let document = answer(self.http.get(url)).await?.ok()?;
            discovery::parse(&document, issuer)
        };
        let metadata = Arc::new(known.note(asked.await)?);
        known.metadata = Some((Arc::clone(&metadata), Instant::now()));
        Ok(metadata)
    }

    /// The provider's keys, not older than this.
    async fn keys(
        &self,
        metadata: &Metadata,
        at_most: Duration,
    ) -> Result<Arc<JwkSet>, ProviderError> {
        let mut known = self.known.lock().await;
        if let Some((keys, at)) = &known.keys
            && at.elapsed() < at_most
        {
            return Ok(Arc::clone(keys));
        }
        known.check_pause()?;
        let asked = async {
            let document = answer(self.http.get(metadata.jwks_uri.clone()))
                .await?
                .ok()?;
            parse_keys(&document)
        };
        let keys = Arc::new(known.note(asked.await)?);
        known.keys = Some((Arc::clone(&keys), Instant::now()));
        Ok(keys)
    }
}

impl Known {
    /// Those who waited for one that failed, fail with it.
    fn check_pause(&self) -> Result<(), ProviderError> {
        match &self.failed {
            Some((error, at)) if at.elapsed() < PAUSE => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn note<T>(&mut self, asked: Result<T, ProviderError>) -> Result<T, ProviderError> {
        self.failed = asked
            .as_ref()
            .err()
            .map(|error| (error.clone(), Instant::now()));
        asked
    }
}

/// The keys that are understood; a provider may have others.
fn parse_keys(document: &[u8]) -> Result<JwkSet, ProviderError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(document)
        .map_err(|_| ProviderError::Invalid("its keys can't be read"))?;
    let understood = |key| serde_json::from_value::<Jwk>(key).ok();
    Ok(JwkSet {
        keys: set
            .keys
            .into_iter()
            .take(MOST_KEYS)
            .filter_map(understood)
            .collect(),
    })
}

/// The client's id and secret (RFC 6749 §2.3.1).
fn basic(id: &str, secret: &SecretString) -> Result<HeaderValue, ProviderError> {
    let encoded =
        |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let both = format!("{}:{}", encoded(id), encoded(secret.expose_secret()));
    secret_header(&format!("Basic {}", BASE64.encode(both)))
}

fn secret_header(text: &str) -> Result<HeaderValue, ProviderError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| ProviderError::Invalid("a token of its has characters that none has"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_asked_over_tls_or_on_this_host() {
        let may = |text: &str| is_provider_url(&Url::parse(text).unwrap());
        for text in [
            "https://id.example.com/realm",
            "http://localhost:3000",
            "http://[::1]:3000/",
        ] {
            assert!(may(text), "{text}");
        }
        for text in [
            "http://id.example.com",
            "http://localhost.example.com",
            "https://user:password@id.example.com",
            "ftp://localhost/",
        ] {
            assert!(!may(text), "{text}");
        }
    }

    #[test]
    fn keys_that_are_not_understood_are_left_out() {
        let keys = parse_keys(
            br#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"}, {"kty": "new"}, 1]}"#,
        )
        .unwrap();
        let named: Vec<_> = keys
            .keys
            .iter()
            .filter_map(|key| key.common.key_id.as_deref())
            .collect();
        assert_eq!(named, ["a"]);
        assert!(parse_keys(b"[]").is_err());
    }

    #[test]
    fn a_client_secret_does_not_print() {
        let settings = ProviderSettings {
            issuer: "https://id.example.com".to_owned(),
            client_id: "a:b".to_owned(),
            client_secret: SecretString::from("hidden+"),
            scopes: "openid".to_owned(),
            redirect_uri: "https://ai.example.com/callback".to_owned(),
            https_proxy: None,
        };
        let header = basic(&settings.client_id, &settings.client_secret).unwrap();
        assert_eq!(
            header,
            format!("Basic {}", BASE64.encode("a%3Ab:hidden%2B"))
        );
        let provider = Provider::new(settings).unwrap();
        assert!(!format!("{provider:?}{header:?}").contains("hidden"));
    }
}
