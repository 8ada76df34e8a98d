//! What was used of a day's quota of free models.

use airouter_billing::Timestamp;
use airouter_store::StoreError;
use airouter_store::free_quota::{FreeQuota, FreeQuotaUse};
use async_trait::async_trait;
use uuid::Uuid;

use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;

const DAY_SECONDS: i64 = 86_400;

#[async_trait]
impl FreeQuota for SqliteStore {
    async fn share_free_quota(
        &self,
        counter: Uuid,
        day: Timestamp,
        own: &FreeQuotaUse,
    ) -> Result<FreeQuotaUse, StoreError> {
        if own.rows().next().is_some() {
            self.write_free_quota(counter, day, own).await?;
        }
        let day = day.as_micros();
        let rows = sqlx::query!(
            r#"SELECT kind, owner_id, sum(used) AS "used!: i64" FROM free_quota_use
            WHERE day = $1 AND counter_id <> $2 GROUP BY kind, owner_id"#,
            day,
            counter
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let rows = rows.into_iter().map(|row| {
            let owner = Column::new("free_quota_use", "owner_id").uuid(&row.owner_id)?;
            Ok((row.kind, owner, row.used))
        });
        let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
        Ok(FreeQuotaUse::from_rows(rows.into_iter()))
    }
}

impl SqliteStore {
    async fn write_free_quota(
        &self,
        counter: Uuid,
        day: Timestamp,
        own: &FreeQuotaUse,
    ) -> Result<(), StoreError> {
        let rows = own
            .rows()
            .map(|(kind, owner, used)| (kind.name(), owner.simple().to_string(), used));
        let rows = serde_json::json!(rows.collect::<Vec<_>>()).to_string();
        let forgotten_before = day.plus_seconds(-DAY_SECONDS).as_micros();
        let day = day.as_micros();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        sqlx::query!(
            "INSERT INTO free_quota_use (day, counter_id, kind, owner_id, used)
            SELECT $1, $2, value ->> 0, unhex(value ->> 1), value ->> 2 FROM json_each($3) WHERE true
            ON CONFLICT (day, kind, owner_id, counter_id)
            DO UPDATE SET used = excluded.used WHERE used < excluded.used",
            day,
            counter,
            rows
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query!(
            "DELETE FROM free_quota_use WHERE day < $1",
            forgotten_before
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }
}
