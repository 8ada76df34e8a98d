//! Client keys by the account that owns them.

use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::StoreError;
use airouter_store::key_admin::{KeyAdmin, KeyRecord};
use async_trait::async_trait;

use crate::connection::failed;
use crate::convert::{Column, counted};
use crate::open::SqliteStore;

#[async_trait]
impl KeyAdmin for SqliteStore {
    async fn keys_of(
        &self,
        account: AccountId,
        after: Option<ApiKeyId>,
        limit: u16,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        let (owner, after, limit) = (account.get(), after.map(ApiKeyId::get), i64::from(limit));
        let rows = sqlx::query!(
            "SELECT id, name, preview, payer_id, created_at, expires_at, revoked_at, last_used_at
            FROM api_keys WHERE account_id = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3",
            owner,
            after,
            limit
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let column = |name| Column::new("api_keys", name);
        rows.into_iter()
            .map(|row| {
                Ok(KeyRecord {
                    id: ApiKeyId::new(column("id").uuid(&row.id)?),
                    name: row.name,
                    preview: row.preview,
                    payer: AccountId::new(column("payer_id").uuid(&row.payer_id)?),
                    created_at: Timestamp::from_micros(row.created_at),
                    expires_at: row.expires_at.map(Timestamp::from_micros),
                    revoked_at: row.revoked_at.map(Timestamp::from_micros),
                    last_used_at: row.last_used_at.map(Timestamp::from_micros),
                })
            })
            .collect()
    }

    async fn live_keys_of(&self, account: AccountId) -> Result<u64, StoreError> {
        let owner = account.get();
        let live = sqlx::query_scalar!(
            r#"SELECT count(*) AS "live!: i64" FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL"#,
            owner
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        Ok(counted(live))
    }

    async fn revoke_key_of(
        &self,
        account: AccountId,
        key: ApiKeyId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (owner, id, at) = (account.get(), key.get(), at.as_micros());
        let mut writer = self.writer().await?;
        let revoked = sqlx::query!(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE id = $2 AND account_id = $1",
            owner,
            id,
            at
        )
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
        if revoked.rows_affected() == 0 {
            return Err(StoreError::NotFound { what: "the key" });
        }
        Ok(())
    }
}
