//! Master accounts.

use airouter_auth::SealedSecret;
use airouter_billing::{Discount, DiscountBasis, MasterAccountId, Timestamp};
use airouter_store::StoreError;
use airouter_store::master_accounts::{MasterAccount, MasterAccountStatus, MasterAccounts};
use async_trait::async_trait;

use crate::connection::{failed, insert_failed};
use crate::convert::Column;
use crate::open::SqliteStore;

#[async_trait]
impl MasterAccounts for SqliteStore {
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
        let at = at.as_micros();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "INSERT INTO master_accounts (id, name, base_url, sealed_key, key_fingerprint, discount, discount_basis,
                status, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
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
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(|error| insert_failed(error, "a master account with this key"))
    }

    async fn master_accounts(&self) -> Result<Vec<MasterAccount>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, name, base_url, sealed_key, key_fingerprint, discount, discount_basis, status
            FROM master_accounts ORDER BY seq"
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                let column = |name| Column::new("master_accounts", name);
                let id = MasterAccountId::new(column("id").uuid(&row.id)?);
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
