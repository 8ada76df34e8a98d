//! What all requests share.

use std::sync::Arc;

use airouter_auth::{EncryptionKeys, TokenKeys};
use airouter_billing::Timestamp;
use airouter_store::Store;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Parts;
use crate::mail::Mail;
use crate::passwords::Passwords;
use crate::problem::Problem;
use crate::provider::LoginProvider;
use crate::rates::Rates;
use crate::registration::RegistrationMode;
use crate::upstreams::Upstreams;

/// Tells the time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Something that the server runs with.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Setting {
    /// The environment variable.
    #[schema(example = "AIROUTER_REGISTRATION")]
    pub name: &'static str,
    /// What holds; of a secret only whether it is set.
    #[schema(example = "open")]
    pub value: String,
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: TokenKeys,
    pub(crate) encryption: EncryptionKeys,
    pub(crate) passwords: Passwords,
    pub(crate) rates: Rates,
    pub(crate) registration: RegistrationMode,
    login_provider: Option<LoginProvider>,
    pub(crate) upstreams: Arc<dyn Upstreams>,
    pub(crate) mail: Arc<dyn Mail>,
    /// Where people reach the pages that links lead to, without a slash at the end.
    pub(crate) public_url: String,
    pub(crate) settings: Vec<Setting>,
    /// The OpenAPI document.
    pub(crate) document: Bytes,
    now: Now,
}

impl Shared {
    pub(crate) fn new(parts: Parts, passwords: Passwords, document: Bytes) -> Self {
        Self {
            store: parts.store,
            tokens: parts.tokens,
            encryption: parts.encryption,
            passwords,
            rates: Rates::default(),
            registration: parts.registration,
            login_provider: parts.login_provider,
            upstreams: parts.upstreams,
            mail: parts.mail,
            public_url: parts.public_url,
            settings: parts.settings,
            document,
            now: parts.now,
        }
    }

    /// Where people may log in who have no password here.
    pub(crate) fn login_provider(&self) -> Result<&LoginProvider, Problem> {
        let provider = self.login_provider.as_ref();
        provider.ok_or(Problem::NotFound("provider of logins"))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Now, in seconds since the epoch, as tokens have it.
    pub(crate) fn now_seconds(&self) -> i64 {
        self.now().as_micros().div_euclid(1_000_000)
    }
}
