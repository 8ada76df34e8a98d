//! Operator tokens.

use airouter_auth::TokenHash;
use airouter_billing::{AccountId, Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::operator_tokens::{
    NewOperatorToken, OperatorToken, OperatorTokenRecord, OperatorTokens, Scopes, USE_NOTED_SECONDS,
};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit;
use crate::connection::failed;
use crate::convert::timestamptz;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

#[async_trait]
impl OperatorTokens for PostgresStore {
    async fn create_operator_token(
        &self,
        token: &NewOperatorToken,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = create(&mut transaction, token, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn operator_tokens(
        &self,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<OperatorTokenRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query!(
                    "SELECT t.id, t.name, t.preview, t.scopes, u.email, t.created_at, t.expires_at, t.revoked_at,
                        t.last_used_at
                    FROM operator_tokens t JOIN users u ON u.id = t.user_id
                    WHERE $1::uuid IS NULL OR t.id > $1 ORDER BY t.id LIMIT $2",
                    after,
                    i64::from(limit)
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| OperatorTokenRecord {
                id: row.id,
                name: row.name,
                preview: row.preview,
                scopes: Scopes::parse(&row.scopes),
                maker: row.email,
                created_at: Timestamp::from(row.created_at),
                expires_at: Timestamp::from(row.expires_at),
                revoked_at: row.revoked_at.map(Timestamp::from),
                last_used_at: row.last_used_at.map(Timestamp::from),
            })
            .collect())
    }

    async fn revoke_operator_token(&self, id: Uuid, audit: &AuditEntry) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = revoke(&mut transaction, id, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn operator_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<OperatorToken>, StoreError> {
        self.on_pool(async |connection| used(connection, hash, now).await)
            .await
    }
}

async fn create(
    connection: &mut PgConnection,
    token: &NewOperatorToken,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO operator_tokens (id, user_id, name, preview, token_hash, scopes, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        token.id,
        token.maker.get(),
        token.name,
        token.preview,
        token.hash.as_bytes().as_slice(),
        token.scopes.to_string(),
        timestamptz(token.at),
        timestamptz(token.expires_at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    audit::append(connection, entry).await
}

async fn revoke(
    connection: &mut PgConnection,
    id: Uuid,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let revoked = sqlx::query!(
        "UPDATE operator_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1",
        id,
        timestamptz(entry.at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if revoked.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "the token" });
    }
    audit::append(connection, entry).await
}

async fn used(
    connection: &mut PgConnection,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Option<OperatorToken>, StoreError> {
    let row = sqlx::query!(
        "SELECT t.id, t.name, t.scopes, u.id AS user_id, u.email, p.account_id
        FROM operator_tokens t JOIN users u ON u.id = t.user_id JOIN persons p ON p.user_id = u.id
        WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND u.role = 'admin' AND u.status = 'active'",
        hash.as_bytes().as_slice(),
        timestamptz(now)
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    sqlx::query!(
        "UPDATE operator_tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
        row.id,
        timestamptz(now),
        timestamptz(now.plus_seconds(-USE_NOTED_SECONDS))
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(Some(OperatorToken {
        id: row.id,
        name: row.name,
        scopes: Scopes::parse(&row.scopes),
        maker: UserId::new(row.user_id),
        email: row.email,
        account: AccountId::new(row.account_id),
    }))
}
