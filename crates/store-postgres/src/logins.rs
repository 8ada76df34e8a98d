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
use sqlx::{Connection as _, PgConnection};

use crate::audit;
use crate::connection::failed;
use crate::convert::{Column, timestamptz, without_nul};
use crate::dedicated::{begin, finish};
use crate::impersonations;
use crate::open::PostgresStore;

#[async_trait]
impl Logins for PostgresStore {
    async fn credentials(&self, email: &str) -> Result<Option<Credentials>, StoreError> {
        // No text of the database has one.
        if email.contains('\0') {
            return Ok(None);
        }
        self.on_pool(async |connection| credentials(connection, email).await)
            .await
    }

    async fn upgrade_password_hash(
        &self,
        user: UserId,
        before: &str,
        after: &str,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            sqlx::query!(
                "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
                user.get(),
                before,
                after
            )
            .execute(connection)
            .await
            .map(drop)
            .map_err(failed)
        })
        .await
    }

    async fn change_password(
        &self,
        user: UserId,
        before: &str,
        after: &str,
        keep: SessionId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let change = (before, after);
            let done = change_password(&mut transaction, user, change, keep, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn start_session(&self, session: &NewSession) -> Result<Login, StoreError> {
        self.on_pool(async |connection| start(connection, session).await)
            .await
    }

    async fn impersonate(&self, new: &NewImpersonation) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let begun = impersonations::begin(&mut transaction, new).await;
            finish(transaction, begun).await
        })
        .await
    }

    async fn login(&self, session: SessionId, now: Timestamp) -> Result<Option<Login>, StoreError> {
        self.on_pool(async |connection| login(connection, session, now).await)
            .await
    }

    async fn refresh_session(&self, refresh: &Refresh) -> Result<Refreshed, StoreError> {
        self.on_pool(async |connection| refresh_session(connection, refresh).await)
            .await
    }

    async fn end_session(
        &self,
        user: UserId,
        session: SessionId,
        why: SessionEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| end(connection, user, session, why, at).await)
            .await
    }

    async fn sessions(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        self.on_pool(async |connection| sessions(connection, user, now).await)
            .await
    }
}

async fn credentials(
    connection: &mut PgConnection,
    email: &str,
) -> Result<Option<Credentials>, StoreError> {
    let row = sqlx::query!(
        "SELECT id, password_hash, status FROM users WHERE lower(email) = lower($1)",
        email
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    Ok(row.map(|row| Credentials {
        user: UserId::new(row.id),
        password_hash: row.password_hash,
        is_active: row.status == "active",
    }))
}

/// Replaces a password's hash (before, after).
async fn change_password(
    connection: &mut PgConnection,
    user: UserId,
    (before, after): (&str, &str),
    keep: SessionId,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let changed = sqlx::query!(
        "UPDATE users SET password_hash = $3, updated_at = $4 WHERE id = $1 AND password_hash = $2",
        user.get(),
        before,
        after,
        timestamptz(entry.at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if changed.rows_affected() == 0 {
        return Err(StoreError::ChangedMeanwhile);
    }
    sqlx::query!(
        "DELETE FROM mailed_tokens WHERE user_id = $1 AND kind = 'reset_password'",
        user.get()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let why = SessionEnd::PasswordChanged;
    end_all(connection, user, Some(keep), why, entry.at).await?;
    audit::append(connection, entry).await
}

/// Ends the sessions of a user that go on, but for one. The user is locked before.
pub(crate) async fn end_all(
    connection: &mut PgConnection,
    user: UserId,
    keep: Option<SessionId>,
    why: SessionEnd,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE sessions SET ended_at = $3, end_reason = $4
        WHERE user_id = $1 AND id IS DISTINCT FROM $2::uuid AND ended_at IS NULL AND expires_at > $3",
        user.get(),
        keep.map(SessionId::get),
        timestamptz(at),
        why.name()
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn start(connection: &mut PgConnection, session: &NewSession) -> Result<Login, StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let (user, at) = (session.user.get(), timestamptz(session.at));
    // Those of one user begin one after the other, so that none is counted by nobody.
    sqlx::query!(
        "SELECT id FROM users WHERE id = $1 AND ($2::text IS NULL OR password_hash = $2) FOR UPDATE",
        user,
        session.password_hash
    )
    .fetch_optional(&mut *transaction)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound { what: "the user" })?;
    let kept_since = timestamptz(session.at.plus_seconds(-SESSION_KEPT_SECONDS));
    sqlx::query!(
        "DELETE FROM sessions WHERE user_id = $1 AND coalesce(ended_at, expires_at) < $2",
        user,
        kept_since
    )
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    let address = session.address.as_deref().map(without_nul);
    let user_agent = session.user_agent.as_deref().map(without_nul);
    sqlx::query!(
        "INSERT INTO sessions (id, user_id, refresh_hash, created_at, refreshed_at, expires_at, address, user_agent)
        VALUES ($1, $2, $3, $4, $4, $5, $6, $7)",
        session.id.get(),
        user,
        session.refresh.as_bytes().as_slice(),
        at,
        timestamptz(session.expires_at),
        address.as_deref(),
        user_agent.as_deref()
    )
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id IN (
            SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
            ORDER BY created_at DESC, id DESC OFFSET $4
        )",
        user,
        at,
        SessionEnd::TooMany.name(),
        MOST_SESSIONS
    )
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    let login = login(&mut transaction, session.id, session.at)
        .await?
        .ok_or(StoreError::NotFound { what: "the user" })?;
    transaction.commit().await.map_err(failed)?;
    Ok(login)
}

async fn login(
    connection: &mut PgConnection,
    session: SessionId,
    now: Timestamp,
) -> Result<Option<Login>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT u.id AS user_id, u.email, u.email_verified, u.name, u.role, u.created_at, a.id AS account_id, a.mode,
            s.impersonated_by AS "impersonated_by?"
        FROM (
            SELECT user_id, NULL::text AS impersonated_by FROM sessions
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
        session.get(),
        timestamptz(now)
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let account = AccountId::new(row.account_id);
    Ok(Some(Login {
        session,
        user: UserId::new(row.user_id),
        account,
        payment: Payment::from_name(&row.mode)
            .ok_or_else(|| Column::new("accounts", "mode").corrupt(account))?,
        email: row.email,
        email_verified: row.email_verified,
        name: row.name,
        role: Role::from_name(&row.role)
            .ok_or_else(|| Column::new("users", "role").corrupt(row.user_id))?,
        created_at: Timestamp::from(row.created_at),
        impersonated_by: row.impersonated_by,
    }))
}

async fn refresh_session(
    connection: &mut PgConnection,
    refresh: &Refresh,
) -> Result<Refreshed, StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let session = refresh.session.get();
    let at = timestamptz(refresh.at);
    let current = sqlx::query_scalar!(
        "SELECT refresh_hash FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > $2 FOR UPDATE",
        session,
        at
    )
    .fetch_optional(&mut *transaction)
    .await
    .map_err(failed)?;
    let Some(current) = current else {
        return Ok(Refreshed::No);
    };
    if current != refresh.presented.as_bytes() {
        sqlx::query!(
            "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1",
            session,
            at,
            SessionEnd::TokenReused.name()
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        return Ok(Refreshed::Reused);
    }
    let Some(login) = login(&mut transaction, refresh.session, refresh.at).await? else {
        return Ok(Refreshed::No);
    };
    sqlx::query!(
        "UPDATE sessions SET refresh_hash = $2, refreshed_at = $3, expires_at = $4 WHERE id = $1",
        session,
        refresh.next.as_bytes().as_slice(),
        at,
        timestamptz(refresh.expires_at)
    )
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Refreshed::Yes(Box::new(login)))
}

async fn end(
    connection: &mut PgConnection,
    user: UserId,
    session: SessionId,
    why: SessionEnd,
    at: Timestamp,
) -> Result<(), StoreError> {
    let ended = sqlx::query!(
        "UPDATE sessions SET ended_at = $3, end_reason = $4
        WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
        session.get(),
        user.get(),
        timestamptz(at),
        why.name()
    )
    .execute(connection)
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
    connection: &mut PgConnection,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<SessionRecord>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, created_at, refreshed_at, expires_at, address, user_agent FROM sessions
        WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
        ORDER BY created_at DESC, id DESC LIMIT $3",
        user.get(),
        timestamptz(now),
        MOST_SESSIONS
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|row| SessionRecord {
            id: SessionId::new(row.id),
            created_at: Timestamp::from(row.created_at),
            refreshed_at: Timestamp::from(row.refreshed_at),
            expires_at: Timestamp::from(row.expires_at),
            address: row.address,
            user_agent: row.user_agent,
        })
        .collect())
}
