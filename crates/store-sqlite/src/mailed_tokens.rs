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
use sqlx::SqliteConnection;

use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{audit, logins, people};

const NOT_GOOD: StoreError = StoreError::NotFound { what: "the token" };

#[async_trait]
impl MailedTokens for SqliteStore {
    async fn keep_mailed_token(
        &self,
        email: &str,
        token: &NewMailedToken,
    ) -> Result<Option<Recipient>, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let found = recipient(&mut transaction, email).await?;
        remove(&mut transaction, email, token).await?;
        insert(&mut transaction, email, found.as_ref(), token).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(found)
    }

    async fn verify_email(&self, presented: &Presented) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let person = use_up(&mut transaction, MailedKind::VerifyEmail, presented).await?;
        let entry = presented.entry(&person, "login.verify_email");
        audit::append(&mut transaction, &entry).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn reset_password(
        &self,
        presented: &Presented,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let person = use_up(&mut transaction, MailedKind::ResetPassword, presented).await?;
        let user = person.user.get();
        sqlx::query!(
            "UPDATE users SET password_hash = $2 WHERE id = $1",
            user,
            password_hash
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query!("DELETE FROM mailed_tokens WHERE user_id = $1", user)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        let why = SessionEnd::PasswordChanged;
        logins::end_all(&mut transaction, person.user, None, why, presented.at).await?;
        let entry = presented.entry(&person, "login.reset_password");
        audit::append(&mut transaction, &entry).await?;
        transaction.commit().await.map_err(failed)
    }
}

async fn recipient(
    connection: &mut SqliteConnection,
    email: &str,
) -> Result<Option<Recipient>, StoreError> {
    let row = sqlx::query!(
        "SELECT id, email, name, locale FROM users WHERE email = $1 AND status = 'active'",
        email
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(|row| {
        Ok(Recipient {
            user: UserId::new(Column::new("users", "id").uuid(&row.id)?),
            email: row.email,
            name: row.name,
            locale: row.locale,
        })
    })
    .transpose()
}

/// Makes room for a token: what has expired goes, and the oldest of those that are open for the address.
async fn remove(
    connection: &mut SqliteConnection,
    email: &str,
    token: &NewMailedToken,
) -> Result<(), StoreError> {
    let (kind, at) = (token.kind.name(), token.at.as_micros());
    let others = MOST_MAILED_TOKENS - 1;
    sqlx::query!(
        "DELETE FROM mailed_tokens WHERE token_hash IN (
            SELECT token_hash FROM mailed_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
        )",
        at,
        MOST_REMOVED_AT_ONCE
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "DELETE FROM mailed_tokens WHERE token_hash IN (
            SELECT token_hash FROM mailed_tokens WHERE email = $1 AND kind = $2
            ORDER BY created_at DESC LIMIT -1 OFFSET $3
        )",
        email,
        kind,
        others
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn insert(
    connection: &mut SqliteConnection,
    email: &str,
    recipient: Option<&Recipient>,
    token: &NewMailedToken,
) -> Result<(), StoreError> {
    let hash = token.token.as_bytes().as_slice();
    let kind = token.kind.name();
    let user = recipient.map(|recipient| recipient.user.get());
    let email = recipient.map_or(email, |recipient| recipient.email.as_str());
    let at = token.at.as_micros();
    let expires_at = token.at.plus_seconds(token.kind.seconds()).as_micros();
    sqlx::query!(
        "INSERT INTO mailed_tokens (token_hash, kind, user_id, email, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)",
        hash,
        kind,
        user,
        email,
        at,
        expires_at
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Removes a token that is good; the address that it was mailed to is proved.
async fn use_up(
    connection: &mut SqliteConnection,
    kind: MailedKind,
    presented: &Presented,
) -> Result<Person, StoreError> {
    let (kind, at) = (kind.name(), presented.at.as_micros());
    let hash = presented.token.as_bytes().as_slice();
    let used = sqlx::query!(
        "DELETE FROM mailed_tokens WHERE token_hash = $1 AND kind = $2 AND expires_at > $3
        RETURNING user_id, email",
        hash,
        kind,
        at
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(NOT_GOOD)?;
    let proved = sqlx::query!(
        "UPDATE users SET email_verified = 1, updated_at = $3
        WHERE id = $1 AND email = $2 AND status = 'active'",
        used.user_id,
        used.email,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if proved.rows_affected() == 0 {
        return Err(NOT_GOOD);
    }
    people::find(connection, &used.email).await?.ok_or(NOT_GOOD)
}
