//! Logins: what a password is compared with, and sessions.

use airouter_auth::TokenHash;
use airouter_billing::event::Payment;
use airouter_billing::{AccountId, SessionId, Timestamp, UserId};
use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::clients::Role;
use crate::error::StoreError;

/// Sessions that a user may have at the same time; one more ends the oldest.
pub const MOST_SESSIONS: i64 = 50;
/// An ended session is kept for so long, in seconds, so that its owner can see it.
pub const SESSION_KEPT_SECONDS: i64 = 30 * 24 * 3600;

/// What a login is checked against.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The login.
    pub user: UserId,
    /// The password's hash (PHC text); `None` can't log in with one.
    pub password_hash: Option<String>,
    /// Whether the login may be used.
    pub is_active: bool,
}

/// Who somebody is who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The session.
    pub session: SessionId,
    /// The login.
    pub user: UserId,
    /// The account that it owns.
    pub account: AccountId,
    /// How that pays.
    pub payment: Payment,
    /// The e-mail address.
    pub email: String,
    /// Whether the address was proved to be the user's.
    pub email_verified: bool,
    /// The name to show.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Since when there is the login.
    pub created_at: Timestamp,
    /// The e-mail address of the administrator who is here in its place, and may only look.
    pub impersonated_by: Option<String>,
}

/// An administrator who wants to see what a client sees.
#[derive(Clone, Debug)]
pub struct NewImpersonation {
    /// Its id: what an access token names as its session.
    pub id: SessionId,
    /// The client's account.
    pub account: AccountId,
    /// The administrator's own session.
    pub session: SessionId,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// What the audit log says of it.
    pub audit: AuditEntry,
}

/// A session to be started.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// The hash of the password that was found right, if there was one: the session starts only if it still is the user's.
    pub password_hash: Option<String>,
    /// The first refresh token.
    pub refresh: TokenHash,
    /// When the session ends unless it is refreshed.
    pub expires_at: Timestamp,
    /// From where.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// One refresh token in place of another.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// The session that the presented token names.
    pub session: SessionId,
    /// The presented token.
    pub presented: TokenHash,
    /// The next one.
    pub next: TokenHash,
    /// When the session ends unless it is refreshed again.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// What became of a [`Refresh`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The next token is valid, the presented one is not any more.
    Yes(Box<Login>),
    /// The session goes on, but with another token: the presented one was used before. The session has ended now.
    Reused,
    /// There is no such session, it has ended, or its user is disabled.
    No,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Its user ended it.
    Logout,
    /// A refresh token came a second time: somebody else has it too.
    TokenReused,
    /// The user has begun too many others.
    TooMany,
    /// The password was changed.
    PasswordChanged,
    /// The user was disabled.
    Disabled,
}

impl SessionEnd {
    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::TokenReused => "token_reused",
            Self::TooMany => "too_many",
            Self::PasswordChanged => "password_changed",
            Self::Disabled => "disabled",
        }
    }
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was refreshed last.
    pub refreshed_at: Timestamp,
    /// When it ends unless it is refreshed.
    pub expires_at: Timestamp,
    /// From where it was started.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
}

/// Logins and sessions.
#[async_trait]
pub trait Logins: Send + Sync + 'static {
    /// What a login with this e-mail address is checked against.
    async fn credentials(&self, email: &str) -> Result<Option<Credentials>, StoreError>;

    /// Replaces a password's hash by another one of the same password; nothing happens where it is another by now.
    async fn upgrade_password_hash(
        &self,
        user: UserId,
        before: &str,
        after: &str,
    ) -> Result<(), StoreError>;

    /// Replaces the hash of a password by that of another password, ends the user's other sessions than `keep`, and voids
    /// what was mailed to reset the password. [`StoreError::ChangedMeanwhile`] where the hash is another than `before` by now.
    async fn change_password(
        &self,
        user: UserId,
        before: &str,
        after: &str,
        keep: SessionId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Starts a session of an active user, ends the oldest beyond [`MOST_SESSIONS`], and forgets those that ended more than
    /// [`SESSION_KEPT_SECONDS`] ago. [`StoreError::NotFound`] when there is no such user, it is disabled, or has another
    /// password by now.
    async fn start_session(&self, session: &NewSession) -> Result<Login, StoreError>;

    /// Lets an administrator see what an active client sees, and forgets who did before. [`StoreError::NotFound`] when there
    /// is no such client, or it is an administrator too.
    async fn impersonate(&self, new: &NewImpersonation) -> Result<(), StoreError>;

    /// The session, if it goes on at `now` and its user is active. Of an impersonation also only as long as the
    /// administrator's own session goes on, and the administrator is one.
    async fn login(&self, session: SessionId, now: Timestamp) -> Result<Option<Login>, StoreError>;

    /// Exchanges a refresh token. Of two that present the same token only one succeeds, and the other one ends the session.
    async fn refresh_session(&self, refresh: &Refresh) -> Result<Refreshed, StoreError>;

    /// Ends a session of `user`. [`StoreError::NotFound`] when that has none of this id that goes on.
    async fn end_session(
        &self,
        user: UserId,
        session: SessionId,
        why: SessionEnd,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// The sessions of a user that go on, the latest first.
    async fn sessions(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Vec<SessionRecord>, StoreError>;
}
