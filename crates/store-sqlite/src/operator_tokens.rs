//! Operator tokens.

use airouter_auth::TokenHash;
use airouter_billing::{AccountId, Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::operator_tokens::{
    NewOperatorToken, OperatorToken, OperatorTokenRecord, OperatorTokens, Scopes, USE_NOTED_SECONDS,
};
use async_trait::async_trait;
use uuid::Uuid;

use crate::audit;
use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;

#[async_trait]
impl OperatorTokens for SqliteStore {
    async fn create_operator_token(
        &self,
        token: &NewOperatorToken,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let (maker, hash) = (token.maker.get(), token.hash.as_bytes().as_slice());
        let scopes = token.scopes.to_string();
        let (at, expires_at) = (token.at.as_micros(), token.expires_at.as_micros());
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        sqlx::query!(
            "INSERT INTO operator_tokens (id, user_id, name, preview, token_hash, scopes, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            token.id,
            maker,
            token.name,
            token.preview,
            hash,
            scopes,
            at,
            expires_at
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn operator_tokens(
        &self,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<OperatorTokenRecord>, StoreError> {
        let limit = i64::from(limit);
        let rows = sqlx::query!(
            "SELECT t.id, t.name, t.preview, t.scopes, u.email, t.created_at, t.expires_at, t.revoked_at,
                t.last_used_at
            FROM operator_tokens t JOIN users u ON u.id = t.user_id
            WHERE $1 IS NULL OR t.id > $1 ORDER BY t.id LIMIT $2",
            after,
            limit
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                Ok(OperatorTokenRecord {
                    id: Column::new("operator_tokens", "id").uuid(&row.id)?,
                    name: row.name,
                    preview: row.preview,
                    scopes: Scopes::parse(&row.scopes),
                    maker: row.email,
                    created_at: Timestamp::from_micros(row.created_at),
                    expires_at: Timestamp::from_micros(row.expires_at),
                    revoked_at: row.revoked_at.map(Timestamp::from_micros),
                    last_used_at: row.last_used_at.map(Timestamp::from_micros),
                })
            })
            .collect()
    }

    async fn revoke_operator_token(&self, id: Uuid, audit: &AuditEntry) -> Result<(), StoreError> {
        let at = audit.at.as_micros();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let revoked = sqlx::query!(
            "UPDATE operator_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1",
            id,
            at
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if revoked.rows_affected() == 0 {
            return Err(StoreError::NotFound { what: "the token" });
        }
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn operator_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<OperatorToken>, StoreError> {
        let hash = hash.as_bytes().as_slice();
        let noted_before = now.plus_seconds(-USE_NOTED_SECONDS).as_micros();
        let now = now.as_micros();
        let row = sqlx::query!(
            "SELECT t.id, t.name, t.scopes, t.last_used_at, u.id AS user_id, u.email, p.account_id
            FROM operator_tokens t JOIN users u ON u.id = t.user_id JOIN persons p ON p.user_id = u.id
            WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND u.role = 'admin'
                AND u.status = 'active'",
            hash,
            now
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        // Readers don't wait for the writer: only those that have something to note do.
        if row.last_used_at.is_none_or(|at| at <= noted_before) {
            let mut writer = self.writer().await?;
            sqlx::query!(
                "UPDATE operator_tokens SET last_used_at = $2 WHERE token_hash = $1",
                hash,
                now
            )
            .execute(&mut *writer)
            .await
            .map_err(failed)?;
        }
        Ok(Some(OperatorToken {
            id: Column::new("operator_tokens", "id").uuid(&row.id)?,
            name: row.name,
            scopes: Scopes::parse(&row.scopes),
            maker: UserId::new(Column::new("users", "id").uuid(&row.user_id)?),
            email: row.email,
            account: AccountId::new(Column::new("persons", "account_id").uuid(&row.account_id)?),
        }))
    }
}
