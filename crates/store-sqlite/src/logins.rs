//! Logins and sessions.

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, SessionId, Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::Role;
use airouter_store::logins::{
    Credentials, Login, Logins, MOST_SESSIONS, NewImpersonation, NewSession, Refresh, Refreshed,
    SESSION_KEPT_SECONDS, SessionEnd, SessionRecord,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::audit;
use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::impersonations;
use crate::open::SqliteStore;

#[async_trait]
impl Logins for SqliteStore {
    async fn credentials(&self, email: &str) -> Result<Option<Credentials>, StoreError> {
        let row = sqlx::query!(
            "SELECT id, password_hash, status FROM users WHERE email = $1",
            email
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        row.map(|row| {
            Ok(Credentials {
                user: UserId::new(Column::new("users", "id").uuid(&row.id)?),
                password_hash: row.password_hash,
                is_active: row.status == "active",
            })
        })
        .transpose()
    }

    async fn upgrade_password_hash(
        &self,
        user: UserId,
        before: &str,
        after: &str,
    ) -> Result<(), StoreError> {
        let id = user.get();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
            id,
            before,
            after
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }

    async fn change_password(
        &self,
        user: UserId,
        before: &str,
        after: &str,
        keep: SessionId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let (id, at) = (user.get(), audit.at.as_micros());
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let changed = sqlx::query!(
            "UPDATE users SET password_hash = $3, updated_at = $4 WHERE id = $1 AND password_hash = $2",
            id,
            before,
            after,
            at
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::ChangedMeanwhile);
        }
        sqlx::query!(
            "DELETE FROM mailed_tokens WHERE user_id = $1 AND kind = 'reset_password'",
            id
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let why = SessionEnd::PasswordChanged;
        end_all(&mut transaction, user, Some(keep), why, audit.at).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn start_session(&self, session: &NewSession) -> Result<Login, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        insert(&mut transaction, session).await?;
        let login = login(&mut transaction, session.id, session.at)
            .await?
            .ok_or(StoreError::NotFound { what: "the user" })?;
        transaction.commit().await.map_err(failed)?;
        Ok(login)
    }

    async fn impersonate(&self, new: &NewImpersonation) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        impersonations::begin(&mut transaction, new).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn login(&self, session: SessionId, now: Timestamp) -> Result<Option<Login>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        login(&mut reader, session, now).await
    }

    async fn refresh_session(&self, refresh: &Refresh) -> Result<Refreshed, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let refreshed = refresh_session(&mut transaction, refresh).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(refreshed)
    }

    async fn end_session(
        &self,
        user: UserId,
        session: SessionId,
        why: SessionEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, user, at, why) = (session.get(), user.get(), at.as_micros(), why.name());
        let mut writer = self.writer().await?;
        let ended = sqlx::query!(
            "UPDATE sessions SET ended_at = $3, end_reason = $4
            WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
            id,
            user,
            at,
            why
        )
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
        if ended.rows_affected() == 0 {
            return Err(StoreError::NotFound {
                what: "the session",
            });
        }
        Ok(())
    }

    async fn sessions(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let (user, now) = (user.get(), now.as_micros());
        let rows = sqlx::query!(
            "SELECT id, created_at, refreshed_at, expires_at, address, user_agent FROM sessions
            WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
            ORDER BY created_at DESC, id DESC LIMIT $3",
            user,
            now,
            MOST_SESSIONS
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                Ok(SessionRecord {
                    id: SessionId::new(Column::new("sessions", "id").uuid(&row.id)?),
                    created_at: Timestamp::from_micros(row.created_at),
                    refreshed_at: Timestamp::from_micros(row.refreshed_at),
                    expires_at: Timestamp::from_micros(row.expires_at),
                    address: row.address,
                    user_agent: row.user_agent,
                })
            })
            .collect()
    }
}

/// Ends the sessions of a user that go on, but for one.
pub(crate) async fn end_all(
    connection: &mut SqliteConnection,
    user: UserId,
    keep: Option<SessionId>,
    why: SessionEnd,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (user, keep) = (user.get(), keep.map(SessionId::get));
    let (why, at) = (why.name(), at.as_micros());
    sqlx::query!(
        "UPDATE sessions SET ended_at = $3, end_reason = $4
        WHERE user_id = $1 AND id IS NOT $2 AND ended_at IS NULL AND expires_at > $3",
        user,
        keep,
        at,
        why
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn insert(connection: &mut SqliteConnection, session: &NewSession) -> Result<(), StoreError> {
    let (id, user, at) = (session.id.get(), session.user.get(), session.at.as_micros());
    let expires_at = session.expires_at.as_micros();
    let refresh = session.refresh.as_bytes().as_slice();
    let kept_since = session.at.plus_seconds(-SESSION_KEPT_SECONDS).as_micros();
    let too_many = SessionEnd::TooMany.name();
    sqlx::query!(
        "DELETE FROM sessions WHERE user_id = $1 AND coalesce(ended_at, expires_at) < $2",
        user,
        kept_since
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "INSERT INTO sessions (id, user_id, refresh_hash, created_at, refreshed_at, expires_at, address, user_agent)
        SELECT $1, users.id, $3, $4, $4, $5, $6, $7 FROM users
        WHERE users.id = $2 AND ($8 IS NULL OR users.password_hash = $8)",
        id,
        user,
        refresh,
        at,
        expires_at,
        session.address,
        session.user_agent,
        session.password_hash
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id IN (
            SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
            ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET $4
        )",
        user,
        at,
        too_many,
        MOST_SESSIONS
    )
    .execute(&mut *connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn login(
    connection: &mut SqliteConnection,
    session: SessionId,
    now: Timestamp,
) -> Result<Option<Login>, StoreError> {
    let (id, now) = (session.get(), now.as_micros());
    let row = sqlx::query!(
        r#"SELECT u.id AS user_id, u.email, u.email_verified, u.name, u.role, u.created_at, a.id AS account_id, a.mode,
            s.impersonated_by AS "impersonated_by?: String"
        FROM (
            SELECT user_id, NULL AS impersonated_by FROM sessions
            WHERE id = $1 AND ended_at IS NULL AND expires_at > $2
            UNION ALL
            SELECT i.user_id, admin.email FROM impersonations i
            JOIN sessions own ON own.id = i.session_id JOIN users admin ON admin.id = own.user_id
            JOIN users seen ON seen.id = i.user_id
            WHERE i.id = $1 AND i.expires_at > $2 AND own.ended_at IS NULL AND own.expires_at > $2
                AND admin.status = 'active' AND admin.role = 'admin' AND seen.role = 'client'
        ) s JOIN users u ON u.id = s.user_id JOIN persons p ON p.user_id = u.id
        JOIN accounts a ON a.id = p.account_id
        WHERE u.status = 'active'"#,
        id,
        now
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let account = AccountId::new(Column::new("accounts", "id").uuid(&row.account_id)?);
    Ok(Some(Login {
        session,
        user: UserId::new(Column::new("users", "id").uuid(&row.user_id)?),
        account,
        payment: Payment::from_name(&row.mode)
            .ok_or_else(|| Column::new("accounts", "mode").corrupt(account))?,
        email: row.email,
        email_verified: row.email_verified != 0,
        name: row.name,
        role: Role::from_name(&row.role)
            .ok_or_else(|| Column::new("users", "role").corrupt(account))?,
        created_at: Timestamp::from_micros(row.created_at),
        impersonated_by: row.impersonated_by,
    }))
}

async fn refresh_session(
    connection: &mut SqliteConnection,
    refresh: &Refresh,
) -> Result<Refreshed, StoreError> {
    let (session, at) = (refresh.session.get(), refresh.at.as_micros());
    let current = sqlx::query_scalar!(
        "SELECT refresh_hash FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > $2",
        session,
        at
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let Some(current) = current else {
        return Ok(Refreshed::No);
    };
    if current != refresh.presented.as_bytes() {
        let why = SessionEnd::TokenReused.name();
        sqlx::query!(
            "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1",
            session,
            at,
            why
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        return Ok(Refreshed::Reused);
    }
    let Some(login) = login(&mut *connection, refresh.session, refresh.at).await? else {
        return Ok(Refreshed::No);
    };
    let next = refresh.next.as_bytes().as_slice();
    let expires_at = refresh.expires_at.as_micros();
    sqlx::query!(
        "UPDATE sessions SET refresh_hash = $2, refreshed_at = $3, expires_at = $4 WHERE id = $1",
        session,
        next,
        at,
        expires_at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    Ok(Refreshed::Yes(Box::new(login)))
}
