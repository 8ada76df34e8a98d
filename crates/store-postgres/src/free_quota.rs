//! What was used of a day's quota of free models.

use airouter_billing::Timestamp;
use airouter_store::StoreError;
use airouter_store::free_quota::{FreeQuota, FreeQuotaUse};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::timestamptz;
use crate::open::PostgresStore;

const DAY_SECONDS: i64 = 86_400;

#[async_trait]
impl FreeQuota for PostgresStore {
    async fn share_free_quota(
        &self,
        counter: Uuid,
        day: Timestamp,
        own: &FreeQuotaUse,
    ) -> Result<FreeQuotaUse, StoreError> {
        self.on_pool(async |connection| {
            write(connection, counter, day, own).await?;
            others(connection, counter, day).await
        })
        .await
    }
}

async fn write(
    connection: &mut PgConnection,
    counter: Uuid,
    day: Timestamp,
    own: &FreeQuotaUse,
) -> Result<(), StoreError> {
    let (mut kinds, mut owners, mut uses) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, owner, used) in own.rows() {
        kinds.push(kind.name().to_owned());
        owners.push(owner);
        uses.push(i64::from(used));
    }
    if !kinds.is_empty() {
        sqlx::query!(
            "INSERT INTO free_quota_use AS known (day, counter_id, kind, owner_id, used)
            SELECT $1, $2, own.* FROM unnest($3::text[], $4::uuid[], $5::bigint[]) AS own
            ON CONFLICT (day, kind, owner_id, counter_id)
            DO UPDATE SET used = excluded.used WHERE known.used < excluded.used",
            timestamptz(day),
            counter,
            &kinds,
            &owners,
            &uses
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    sqlx::query!(
        "DELETE FROM free_quota_use WHERE day < $1",
        timestamptz(day.plus_seconds(-DAY_SECONDS))
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn others(
    connection: &mut PgConnection,
    counter: Uuid,
    day: Timestamp,
) -> Result<FreeQuotaUse, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT kind, owner_id, sum(used)::bigint AS "used!" FROM free_quota_use
        WHERE day = $1 AND counter_id <> $2 GROUP BY kind, owner_id"#,
        timestamptz(day),
        counter
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let rows = rows
        .into_iter()
        .map(|row| (row.kind, row.owner_id, row.used));
    Ok(FreeQuotaUse::from_rows(rows))
}
