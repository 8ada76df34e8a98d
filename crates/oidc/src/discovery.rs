//! What a provider says of itself (OpenID Connect Discovery 1.0 §3).

use reqwest::Url;
use serde::Deserialize;

use crate::error::ProviderError;
use crate::provider::is_provider_url;

/// Where a provider's metadata is, below its issuer.
pub(crate) const PATH: &str = "/.well-known/openid-configuration";

/// A provider's metadata, as far as it matters here.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) jwks_uri: Url,
    pub(crate) userinfo_endpoint: Option<Url>,
    pub(crate) client_secret: ClientSecretIn,
    pub(crate) answers_name_issuer: AnswersNameIssuer,
}

/// How the client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientSecretIn {
    /// `client_secret_basic`.
    Header,
    /// `client_secret_post`.
    Body,
}

/// Whether `iss` comes beside the code (RFC 9207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswersNameIssuer {
    Always,
    Perhaps,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Reads the metadata of `issuer`, which must be its own.
pub(crate) fn parse(document: &[u8], issuer: &str) -> Result<Metadata, ProviderError> {
    let document: Document = serde_json::from_slice(document)
        .map_err(|_| ProviderError::Invalid("its metadata can't be read"))?;
    if document.issuer != issuer {
        return Err(ProviderError::Invalid(
            "its metadata names another issuer than the setting, to the letter",
        ));
    }
    let methods = document.token_endpoint_auth_methods_supported;
    let takes = |method: &str| {
        methods
            .as_ref()
            .is_some_and(|methods| methods.iter().any(|known| known == method))
    };
    let client_secret = if methods.is_none() || takes("client_secret_basic") {
        ClientSecretIn::Header
    } else if takes("client_secret_post") {
        ClientSecretIn::Body
    } else {
        return Err(ProviderError::Invalid("it takes no client secret"));
    };
    Ok(Metadata {
        authorization_endpoint: endpoint(&document.authorization_endpoint)?,
        token_endpoint: endpoint(&document.token_endpoint)?,
        jwks_uri: endpoint(&document.jwks_uri)?,
        userinfo_endpoint: document
            .userinfo_endpoint
            .as_deref()
            .map(endpoint)
            .transpose()?,
        client_secret,
        answers_name_issuer: if document.authorization_response_iss_parameter_supported {
            AnswersNameIssuer::Always
        } else {
            AnswersNameIssuer::Perhaps
        },
    })
}

fn endpoint(text: &str) -> Result<Url, ProviderError> {
    Url::parse(text)
        .ok()
        .filter(is_provider_url)
        .ok_or(ProviderError::Invalid("an endpoint is no https URL"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ISSUER: &str = "https://id.example.com/realm";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example.com/auth",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://id.example.com/keys",
        })
    }

    fn read(changes: &Value) -> Result<Metadata, ProviderError> {
        let mut document = document();
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        parse(document.to_string().as_bytes(), ISSUER)
    }

    #[test]
    fn metadata_must_be_the_issuers_own() {
        assert!(read(&json!({})).is_ok());
        for other in [
            "https://id.example.com/realm/",
            "https://id.example.com",
            "https://evil.example/realm",
        ] {
            assert!(read(&json!({"issuer": other})).is_err(), "{other}");
        }
    }

    #[test]
    fn endpoints_are_asked_over_tls_or_on_this_host() {
        let asked = |url: &str| read(&json!({"token_endpoint": url})).is_ok();
        assert!(asked("http://127.0.0.1:3000/token") && asked("http://localhost/token"));
        assert!(!asked("http://id.example.com/token") && !asked("ftp://x/") && !asked("token"));
    }

    #[test]
    fn the_secret_goes_where_the_provider_takes_it() {
        let secret_in = |methods: &[&str]| {
            read(&json!({"token_endpoint_auth_methods_supported": methods}))
                .map(|metadata| metadata.client_secret)
        };
        let header = Ok(ClientSecretIn::Header);
        assert_eq!(
            secret_in(&["client_secret_post", "client_secret_basic"]),
            header
        );
        assert_eq!(secret_in(&["client_secret_post"]), Ok(ClientSecretIn::Body));
        assert!(secret_in(&["private_key_jwt"]).is_err());
        assert_eq!(
            read(&json!({})).map(|metadata| metadata.client_secret),
            header
        );
    }
}
