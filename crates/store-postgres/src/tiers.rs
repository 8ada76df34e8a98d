//! Tiers. Triggers carry a limit to the budgets of the accounts that have the tier.

use airouter_billing::Nanos;
use airouter_store::audit::AuditEntry;
use airouter_store::tiers::{Tier, Tiers};
use airouter_store::{Seen, StoreError};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::audit;
use crate::connection::failed;
use crate::convert::counted;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

#[async_trait]
impl Tiers for PostgresStore {
    async fn tiers(&self) -> Result<Vec<Tier>, StoreError> {
        self.on_pool(async |connection| all(connection).await).await
    }

    async fn set_tier(
        &self,
        name: &str,
        seen: &Seen,
        monthly_limit: Option<Nanos>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let set = set(&mut transaction, name, (seen, monthly_limit), audit).await;
            finish(transaction, set).await
        })
        .await
    }

    async fn remove_tier(&self, name: &str, audit: &AuditEntry) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let removed = remove(&mut transaction, name, audit).await;
            finish(transaction, removed).await
        })
        .await
    }
}

async fn all(connection: &mut PgConnection) -> Result<Vec<Tier>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT name, monthly_limit_nanos, (SELECT count(*) FROM accounts WHERE tier = tiers.name) AS "accounts!"
        FROM tiers ORDER BY name"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let tiers = rows.into_iter().map(|row| Tier {
        name: row.name,
        monthly_limit: row.monthly_limit_nanos.map(Nanos::new),
        accounts: counted(row.accounts),
    });
    Ok(tiers.collect())
}

/// One tier; nobody else changes any until the transaction ends.
async fn locked(connection: &mut PgConnection, name: &str) -> Result<Option<Tier>, StoreError> {
    sqlx::query!("LOCK TABLE tiers IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let found = all(connection).await?;
    Ok(found.into_iter().find(|tier| tier.name == name))
}

async fn set(
    connection: &mut PgConnection,
    name: &str,
    (seen, monthly_limit): (&Seen, Option<Nanos>),
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = locked(connection, name).await?;
    let was = before.as_ref().map(Tier::described);
    seen.check(was.as_ref())?;
    sqlx::query!(
        "INSERT INTO tiers (name, monthly_limit_nanos) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET monthly_limit_nanos = excluded.monthly_limit_nanos",
        name,
        monthly_limit.map(Nanos::get)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let is = Tier {
        name: name.to_owned(),
        monthly_limit,
        accounts: 0,
    };
    let told = audit.telling("tier", name, was.as_ref(), Some(&is.described()));
    audit::append(connection, &told).await
}

async fn remove(
    connection: &mut PgConnection,
    name: &str,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = locked(connection, name).await?;
    let before = before.ok_or(StoreError::NotFound { what: "the tier" })?;
    sqlx::query!("DELETE FROM tiers WHERE name = $1", name)
        .execute(&mut *connection)
        .await
        .map_err(|error| match error.as_database_error() {
            Some(database) if database.is_foreign_key_violation() => {
                StoreError::InUse { what: "the tier" }
            }
            _ => failed(error),
        })?;
    let told = audit.telling("tier", name, Some(&before.described()), None);
    audit::append(connection, &told).await
}
