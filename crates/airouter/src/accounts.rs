//! Creating people and their keys, for the commands that do.

pub(crate) use airouter_api::names::{email, name};
use airouter_auth::{AddressAccess, ClientKey, hash_password};
use airouter_billing::event::Payment;
use airouter_billing::{AccountId, ApiKeyId, Timestamp, UserId};
use airouter_store::Store;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::{
    ModelAccess, NewCap, NewKey, NewPerson, Person, RequestLimits, Role,
};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use uuid::Uuid;

use crate::config::Secrets;
use crate::master_accounts::ENVIRONMENT;

/// Who the first admin is when nobody says.
const DEFAULT_ADMIN_EMAIL: &str = "admin@localhost";
/// 144 bits: more than anyone guesses.
const PASSWORD_BYTES: usize = 18;

/// A person to be created.
pub(crate) struct PersonRequest {
    /// The e-mail address, as [`email`] returns it.
    pub(crate) email: String,
    /// The name to show.
    pub(crate) name: String,
    /// What the login may do.
    pub(crate) role: Role,
    /// The password, if the person may log in with one.
    pub(crate) password: Option<SecretString>,
    /// How it pays.
    pub(crate) payment: Payment,
    /// Caps on the account.
    pub(crate) caps: Vec<NewCap>,
    /// The language.
    pub(crate) locale: Option<String>,
    /// Where the person came from.
    pub(crate) utm_source: Option<String>,
}

/// An admin that was just created; the password only if it was generated.
pub(crate) struct FirstAdmin {
    /// The e-mail address.
    pub(crate) email: String,
    /// The generated password, to be shown once.
    pub(crate) generated_password: Option<SecretString>,
}

/// Creates a person with an account of its own; the audit log says that `actor` did.
pub(crate) async fn create_person(
    store: &dyn Store,
    request: PersonRequest,
    actor: &str,
    at: Timestamp,
) -> anyhow::Result<Person> {
    let password_hash = request
        .password
        .map(|password| hash_password(&password))
        .transpose()?;
    let person = NewPerson {
        user: UserId::new(Uuid::now_v7()),
        account: AccountId::new(Uuid::now_v7()),
        email: request.email,
        name: request.name,
        password_hash: password_hash.map(|hash| hash.as_str().to_owned()),
        role: request.role,
        locale: request.locale,
        utm_source: request.utm_source,
        signup_address: None,
        payment: request.payment,
        tier: None,
        caps: request.caps,
        limits: RequestLimits::default(),
        at,
    };
    let after = json!({ "role": person.role.name(), "mode": person.payment.name() });
    let audit = AuditEntry {
        after: Some(after.to_string()),
        ..AuditEntry::new(actor, "client.create", person.account.get(), at)
    };
    store
        .create_client(&person, &audit)
        .await
        .with_context(|| format!("{} can't be created", person.email))?;
    Ok(Person {
        user: person.user,
        account: person.account,
        email: person.email,
        payment: person.payment,
    })
}

/// Creates a key that belongs to `account` and spends from it; the audit log says that `name` did, which it is called too.
pub(crate) async fn issue_key(
    store: &dyn Store,
    account: AccountId,
    name: &str,
    at: Timestamp,
) -> anyhow::Result<ClientKey> {
    let key = ClientKey::generate()?;
    let new = NewKey {
        id: ApiKeyId::new(Uuid::now_v7()),
        hash: key.hash(),
        preview: key.preview(),
        name: name.to_owned(),
        limits: RequestLimits::default(),
        caps: Vec::new(),
        models: ModelAccess::All,
        addresses: AddressAccess::All,
        expires_at: None,
    };
    let after = json!({ "key": new.id.get(), "preview": new.preview });
    let audit = AuditEntry {
        after: Some(after.to_string()),
        ..AuditEntry::new(name, "client.create_key", account.get(), at)
    };
    store
        .create_client_key(account, &new, &audit)
        .await
        .context("the key can't be stored")?;
    Ok(key)
}

/// Creates the first admin; `None` if there is one.
pub(crate) async fn first_admin(
    store: &dyn Store,
    secrets: &Secrets,
    at: Timestamp,
) -> anyhow::Result<Option<FirstAdmin>> {
    if store.has_admin().await? {
        return Ok(None);
    }
    let generated_password = match secrets.admin_password {
        Some(_) => None,
        None => Some(generate_password()?),
    };
    let email = secrets
        .admin_email
        .clone()
        .unwrap_or_else(|| DEFAULT_ADMIN_EMAIL.to_owned());
    let request = PersonRequest {
        email: email.clone(),
        name: "Administrator".to_owned(),
        role: Role::Admin,
        password: generated_password
            .clone()
            .or_else(|| secrets.admin_password.clone()),
        payment: Payment::Prepaid,
        caps: Vec::new(),
        locale: None,
        utm_source: None,
    };
    if let Err(error) = create_person(store, request, ENVIRONMENT, at).await {
        // Another replica, started at the same time, was quicker.
        if store.has_admin().await? {
            return Ok(None);
        }
        return Err(error).context("the first admin (ADMIN_EMAIL) can't be created");
    }
    Ok(Some(FirstAdmin {
        email,
        generated_password,
    }))
}

impl FirstAdmin {
    /// The lines that show a generated password, the only time that it is shown.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Some(password) = &self.generated_password else {
            return Vec::new();
        };
        vec![
            format!("ADMIN_EMAIL={}", self.email),
            format!("ADMIN_PASSWORD={}", password.expose_secret()),
        ]
    }
}

fn generate_password() -> anyhow::Result<SecretString> {
    let mut bytes = [0u8; PASSWORD_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).context("the system has no randomness")?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_address_has_two_plain_parts() {
        assert_eq!(
            email(" a.b+c@example.com "),
            Some("a.b+c@example.com".to_owned())
        );
        for text in [
            "",
            "a",
            "@example.com",
            "a@",
            "a b@example.com",
            "a@b@c",
            "a@b\nc",
        ] {
            assert_eq!(email(text), None, "{text:?}");
        }
        assert_eq!(email(&format!("{}@example.com", "a".repeat(250))), None);
    }

    #[test]
    fn a_generated_password_is_long_and_new() {
        let password = generate_password().unwrap();
        assert_eq!(password.expose_secret().len(), 24);
        let another = generate_password().unwrap();
        assert_ne!(password.expose_secret(), another.expose_secret());
    }
}
