//! The provider that people may log in at.

use airouter_oidc::is_issuer;
use secrecy::SecretString;

use super::environment::Reader;

const DEFAULT_SCOPES: &str = "openid email profile";
const MOST_SCOPES_BYTES: usize = 500;
const LONGEST_NAME: usize = 100;

/// The provider that people may log in at.
#[derive(Clone, Debug)]
pub(crate) struct OpenIdConnect {
    /// Its issuer, to the letter.
    pub(crate) issuer: String,
    /// How it knows this service.
    pub(crate) client_id: String,
    /// What proves that.
    pub(crate) client_secret: SecretString,
    /// What it is asked for.
    pub(crate) scopes: String,
    /// What pages call it.
    pub(crate) name: String,
}

impl OpenIdConnect {
    /// `None` where no provider is named.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let issuer = reader.parsed(
            "AIROUTER_OIDC_ISSUER",
            "an https URL without query, like https://id.example.com",
            |text| is_issuer(text).then(|| text.to_owned()),
        );
        let client_id = reader.text("AIROUTER_OIDC_CLIENT_ID");
        let client_secret = reader.secret("AIROUTER_OIDC_CLIENT_SECRET");
        let scopes = reader.parsed(
            "AIROUTER_OIDC_SCOPES",
            "scopes with spaces in between, openid among them",
            scopes,
        );
        let name = reader.parsed("AIROUTER_OIDC_NAME", "a short name", |text| {
            (text.len() <= LONGEST_NAME && !text.contains(char::is_control))
                .then(|| text.to_owned())
        });
        let parts = [
            ("AIROUTER_OIDC_ISSUER", issuer.is_some()),
            ("AIROUTER_OIDC_CLIENT_ID", client_id.is_some()),
            ("AIROUTER_OIDC_CLIENT_SECRET", client_secret.is_some()),
        ];
        if parts.iter().any(|(_, is_set)| *is_set) {
            for (missing, _) in parts.iter().filter(|(_, is_set)| !is_set) {
                reader.fault(missing, "is not set, but others of AIROUTER_OIDC_… are");
            }
        }
        let issuer = issuer?;
        Some(Self {
            name: name.unwrap_or_else(|| issuer.clone()),
            issuer,
            client_id: client_id?,
            client_secret: client_secret?,
            scopes: scopes.unwrap_or_else(|| DEFAULT_SCOPES.to_owned()),
        })
    }
}

fn scopes(text: &str) -> Option<String> {
    let is_scope = |scope: &str| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic());
    let scopes: Vec<&str> = text.split_ascii_whitespace().collect();
    let are_good = text.len() <= MOST_SCOPES_BYTES
        && scopes.contains(&"openid")
        && scopes.iter().all(|scope| is_scope(scope));
    are_good.then(|| scopes.join(" "))
}
