//! Master accounts.

use airouter_auth::SealedSecret;
use airouter_billing::{Discount, DiscountBasis, MasterAccountId, Timestamp};
use airouter_store::StoreError;
use airouter_store::master_accounts::{MasterAccount, MasterAccountStatus, MasterAccounts};
use async_trait::async_trait;

use crate::connection::{failed, insert_failed};
use crate::convert::{Column, timestamptz};
use crate::open::PostgresStore;

#[async_trait]
impl MasterAccounts for PostgresStore {
    async fn add_master_account(
        &self,
        account: &MasterAccount,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let id = account.id.get();
        let key = account.key.as_bytes();
        let discount = account.discount.fraction().to_string();
        let basis = account.discount.basis().name();
        let status = match account.status {
            MasterAccountStatus::Active => "active",
            MasterAccountStatus::Paused => "paused",
        };
        let at = timestamptz(at);
        self.on_pool(async |connection| {
        sqlx::query!(
            "INSERT INTO master_accounts (id, name, base_url, sealed_key, key_fingerprint, discount, discount_basis,
                status, created_at)
            VALUES ($1, $2, $3, $4, $5, $6::text::numeric, $7, $8, $9)",
            id,
            account.name,
            account.base_url,
            key,
            account.key_fingerprint,
            discount,
            basis,
            status,
            at
        )
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| insert_failed(error, "a master account with this key"))
        }).await
    }

    async fn master_accounts(&self) -> Result<Vec<MasterAccount>, StoreError> {
        let rows = self.on_pool(async |connection| sqlx::query!(
            r#"SELECT id, name, base_url, sealed_key, key_fingerprint, discount::text AS "discount!", discount_basis, status
            FROM master_accounts ORDER BY seq"#
        )
        .fetch_all(connection)
        .await
        .map_err(failed)).await?;
        rows.into_iter()
            .map(|row| {
                let column = |name| Column::new("master_accounts", name);
                let id = MasterAccountId::new(row.id);
                let basis = DiscountBasis::from_name(&row.discount_basis)
                    .ok_or_else(|| column("discount_basis").corrupt(id))?;
                let fraction = column("discount").decimal(&row.discount, id)?;
                Ok(MasterAccount {
                    id,
                    name: row.name,
                    base_url: row.base_url,
                    key: SealedSecret::from_bytes(row.sealed_key),
                    key_fingerprint: row.key_fingerprint,
                    discount: Discount::new(fraction, basis)
                        .map_err(|_| column("discount").corrupt(id))?,
                    status: match row.status.as_str() {
                        "active" => MasterAccountStatus::Active,
                        "paused" => MasterAccountStatus::Paused,
                        _ => return Err(column("status").corrupt(id)),
                    },
                })
            })
            .collect()
    }
}
