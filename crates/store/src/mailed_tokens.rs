//! Tokens that are mailed as links: whoever presents one reads what is sent to the address that it was mailed to.

use airouter_auth::{OpaqueKind, TokenHash};
use airouter_billing::{Timestamp, UserId};
use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::clients::Person;
use crate::error::StoreError;

/// Tokens of one kind that are open for an address at the same time; one more voids the oldest.
pub const MOST_MAILED_TOKENS: i64 = 5;
/// With each new token at most so many are removed that have expired.
pub const MOST_REMOVED_AT_ONCE: i64 = 100;

/// What a mailed token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailedKind {
    /// Proves the address.
    VerifyEmail,
    /// Sets a password, and proves the address too.
    ResetPassword,
}

impl MailedKind {
    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
        }
    }

    /// The token's kind.
    pub const fn opaque(self) -> OpaqueKind {
        match self {
            Self::VerifyEmail => OpaqueKind::EmailVerification,
            Self::ResetPassword => OpaqueKind::PasswordReset,
        }
    }

    /// For how many seconds it is good.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::VerifyEmail => 3 * 24 * 3600,
            Self::ResetPassword => 3600,
        }
    }
}

/// A token to be mailed.
#[derive(Clone, Copy, Debug)]
pub struct NewMailedToken {
    /// What it is for.
    pub kind: MailedKind,
    /// The token.
    pub token: TokenHash,
    /// When.
    pub at: Timestamp,
}

/// To whom a token is mailed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The login.
    pub user: UserId,
    /// Its address, as it is stored.
    pub email: String,
    /// The name to show.
    pub name: String,
    /// The language, `en`.
    pub locale: Option<String>,
}

/// A token as somebody presents it.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The token.
    pub token: TokenHash,
    /// From where.
    pub address: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Presented {
    /// The entry of the audit log on what this person does to its login, for which its account stands there.
    pub fn entry(&self, person: &Person, action: &str) -> AuditEntry {
        AuditEntry {
            actor_id: Some(person.user),
            address: self.address.clone(),
            ..AuditEntry::new(&person.email, action, person.account.get(), self.at)
        }
    }
}

/// Mailed tokens. Each is good once, for its kind's time, and only as long as its login has the address that it was mailed to.
#[async_trait]
pub trait MailedTokens: Send + Sync + 'static {
    /// Keeps a token for the active login with this e-mail address, and tells to whom to mail it; `None` where there is none,
    /// after as much work. Voids the oldest beyond [`MOST_MAILED_TOKENS`], and removes some that have expired.
    async fn keep_mailed_token(
        &self,
        email: &str,
        token: &NewMailedToken,
    ) -> Result<Option<Recipient>, StoreError>;

    /// Uses up a token to verify an address, which is proved from then on, and writes `login.verify_email`.
    /// [`StoreError::NotFound`] when there is none that is good, or its login is disabled.
    async fn verify_email(&self, presented: &Presented) -> Result<(), StoreError>;

    /// Uses up a token to reset a password: sets the password's hash (PHC text), ends all sessions of the login, voids all
    /// tokens that were mailed to it, and writes `login.reset_password`. Its address is proved too.
    /// [`StoreError::NotFound`] when there is none that is good, or its login is disabled.
    async fn reset_password(
        &self,
        presented: &Presented,
        password_hash: &str,
    ) -> Result<(), StoreError>;
}
