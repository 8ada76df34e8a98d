//! Tokens that are mailed as links.

use airouter_billing::UserId;
use airouter_store::StoreError;
use airouter_store::clients::Person;
use airouter_store::logins::SessionEnd;
use airouter_store::mailed_tokens::{
    MOST_MAILED_TOKENS, MOST_REMOVED_AT_ONCE, MailedKind, MailedTokens, NewMailedToken, Presented,
    Recipient,
};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::connection::failed;
use crate::convert::timestamptz;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;
use crate::{audit, logins, people};

const NOT_GOOD: StoreError = StoreError::NotFound { what: "the token" };

#[async_trait]
impl MailedTokens for PostgresStore {
    async fn keep_mailed_token(
        &self,
        email: &str,
        token: &NewMailedToken,
    ) -> Result<Option<Recipient>, StoreError> {
        // No text of the database has one.
        if email.contains('\0') {
            return Ok(None);
        }
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let kept = keep(&mut transaction, email, token).await;
            finish(transaction, kept).await
        })
        .await
    }

    async fn verify_email(&self, presented: &Presented) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = verify(&mut transaction, presented).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn reset_password(
        &self,
        presented: &Presented,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = reset(&mut transaction, presented, password_hash).await;
            finish(transaction, done).await
        })
        .await
    }
}

async fn keep(
    connection: &mut PgConnection,
    email: &str,
    token: &NewMailedToken,
) -> Result<Option<Recipient>, StoreError> {
    // Those of one login come one after the other, so that all are counted.
    let row = sqlx::query!(
        "SELECT id, email, name, locale FROM users WHERE lower(email) = lower($1) AND status = 'active' FOR UPDATE",
        email
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let found = row.map(|row| Recipient {
        user: UserId::new(row.id),
        email: row.email,
        name: row.name,
        locale: row.locale,
    });
    remove(connection, email, token).await?;
    let user = found.as_ref().map(|recipient| recipient.user.get());
    let email = found
        .as_ref()
        .map_or(email, |recipient| recipient.email.as_str());
    sqlx::query!(
        "INSERT INTO mailed_tokens (token_hash, kind, user_id, email, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)",
        token.token.as_bytes().as_slice(),
        token.kind.name(),
        user,
        email,
        timestamptz(token.at),
        timestamptz(token.at.plus_seconds(token.kind.seconds()))
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(found)
}

/// Makes room for a token: what has expired goes, and the oldest of those that are open for the address. Nothing that
/// somebody else uses up or removes is waited for.
async fn remove(
    connection: &mut PgConnection,
    email: &str,
    token: &NewMailedToken,
) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM mailed_tokens WHERE token_hash IN (
            SELECT token_hash FROM mailed_tokens WHERE expires_at <= $1
            ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )",
        timestamptz(token.at),
        MOST_REMOVED_AT_ONCE
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "DELETE FROM mailed_tokens WHERE token_hash IN (
            SELECT token_hash FROM mailed_tokens WHERE lower(email) = lower($1) AND kind = $2
            ORDER BY created_at DESC OFFSET $3 FOR UPDATE SKIP LOCKED
        )",
        email,
        token.kind.name(),
        MOST_MAILED_TOKENS - 1
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn verify(connection: &mut PgConnection, presented: &Presented) -> Result<(), StoreError> {
    let person = use_up(connection, MailedKind::VerifyEmail, presented).await?;
    let entry = presented.entry(&person, "login.verify_email");
    audit::append(connection, &entry).await
}

async fn reset(
    connection: &mut PgConnection,
    presented: &Presented,
    password_hash: &str,
) -> Result<(), StoreError> {
    let person = use_up(connection, MailedKind::ResetPassword, presented).await?;
    let user = person.user.get();
    sqlx::query!(
        "UPDATE users SET password_hash = $2 WHERE id = $1",
        user,
        password_hash
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!("DELETE FROM mailed_tokens WHERE user_id = $1", user)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let why = SessionEnd::PasswordChanged;
    logins::end_all(connection, person.user, None, why, presented.at).await?;
    let entry = presented.entry(&person, "login.reset_password");
    audit::append(connection, &entry).await
}

/// Removes a token that is good; the address that it was mailed to is proved. The login is locked before its tokens are.
async fn use_up(
    connection: &mut PgConnection,
    kind: MailedKind,
    presented: &Presented,
) -> Result<Person, StoreError> {
    let (hash, at) = (presented.token, timestamptz(presented.at));
    let hash = hash.as_bytes().as_slice();
    let email = sqlx::query_scalar!(
        "UPDATE users u SET email_verified = true, updated_at = $3 FROM mailed_tokens t
        WHERE t.token_hash = $1 AND t.kind = $2 AND t.expires_at > $3
            AND u.id = t.user_id AND lower(u.email) = lower(t.email) AND u.status = 'active'
        RETURNING u.email",
        hash,
        kind.name(),
        at
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(NOT_GOOD)?;
    let used = sqlx::query!("DELETE FROM mailed_tokens WHERE token_hash = $1", hash)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if used.rows_affected() == 0 {
        return Err(NOT_GOOD);
    }
    people::by_email(connection, &email).await?.ok_or(NOT_GOOD)
}
