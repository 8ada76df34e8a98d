//! Secrets of the operator's own.

use airouter_auth::EncryptionKeys;
use secrecy::{ExposeSecret, SecretString};

use super::environment::Reader;

/// A password that is shorter than this is guessed.
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 1024;

/// Secrets of the operator's own, in the form that [`EncryptionKeys::parse`] reads. `None` is to be generated.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    /// What access tokens are signed and pseudonyms made with.
    pub(crate) secret_key: Option<SecretString>,
    /// What stored secrets are sealed with.
    pub(crate) encryption_key: Option<SecretString>,
    /// The first admin's e-mail address.
    pub(crate) admin_email: Option<String>,
    /// The first admin's password.
    pub(crate) admin_password: Option<SecretString>,
}

impl Secrets {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            secret_key: keys(reader, "SECRET_KEY"),
            encryption_key: keys(reader, "ENCRYPTION_KEY"),
            admin_email: reader.parsed("ADMIN_EMAIL", "an e-mail address", crate::accounts::email),
            admin_password: admin_password(reader),
        }
    }
}

fn keys(reader: &mut Reader<'_>, name: &'static str) -> Option<SecretString> {
    let text = reader.secret(name)?;
    if let Err(error) = EncryptionKeys::parse(&text) {
        reader.fault(
            name,
            format!("{error}; expected 32 bytes in base64 (openssl rand -base64 32), several separated by commas"),
        );
    }
    Some(text)
}

fn admin_password(reader: &mut Reader<'_>) -> Option<SecretString> {
    let password = reader.secret("ADMIN_PASSWORD")?;
    let characters = password.expose_secret().chars().count();
    if characters < SHORTEST_PASSWORD || password.expose_secret().len() > LONGEST_PASSWORD {
        reader.fault(
            "ADMIN_PASSWORD",
            format!("is too short or too long; expected {SHORTEST_PASSWORD} characters to {LONGEST_PASSWORD} bytes"),
        );
    }
    Some(password)
}
