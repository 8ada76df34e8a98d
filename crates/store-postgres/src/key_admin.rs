//! Client keys by the account that owns them.

use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::StoreError;
use airouter_store::key_admin::{KeyAdmin, KeyRecord};
use async_trait::async_trait;

use crate::connection::failed;
use crate::convert::{counted, timestamptz};
use crate::open::PostgresStore;

#[async_trait]
impl KeyAdmin for PostgresStore {
    async fn keys_of(
        &self,
        account: AccountId,
        after: Option<ApiKeyId>,
        limit: u16,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query!(
                    "SELECT id, name, preview, payer_id, created_at, expires_at, revoked_at, last_used_at
                    FROM api_keys WHERE account_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
                    account.get(),
                    after.map(ApiKeyId::get),
                    i64::from(limit)
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| KeyRecord {
                id: ApiKeyId::new(row.id),
                name: row.name,
                preview: row.preview,
                payer: AccountId::new(row.payer_id),
                created_at: Timestamp::from(row.created_at),
                expires_at: row.expires_at.map(Timestamp::from),
                revoked_at: row.revoked_at.map(Timestamp::from),
                last_used_at: row.last_used_at.map(Timestamp::from),
            })
            .collect())
    }

    async fn live_keys_of(&self, account: AccountId) -> Result<u64, StoreError> {
        let live = self
            .on_pool(async |connection| {
                sqlx::query_scalar!(
                    r#"SELECT count(*) AS "live!" FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL"#,
                    account.get()
                )
                .fetch_one(connection)
                .await
                .map_err(failed)
            })
            .await?;
        Ok(counted(live))
    }

    async fn revoke_key_of(
        &self,
        account: AccountId,
        key: ApiKeyId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let revoked = self
            .on_pool(async |connection| {
                sqlx::query!(
                    "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE id = $2 AND account_id = $1",
                    account.get(),
                    key.get(),
                    timestamptz(at)
                )
                .execute(connection)
                .await
                .map_err(failed)
            })
            .await?;
        if revoked.rows_affected() == 0 {
            return Err(StoreError::NotFound { what: "the key" });
        }
        Ok(())
    }
}
