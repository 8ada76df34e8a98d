//! Versions of price plans that are to come.

use airouter_billing::Timestamp;
use airouter_billing::plan_terms::PlanTerms;
use airouter_store::audit::{AuditEntry, named};
use airouter_store::schedule::{MOST_SCHEDULED, SCHEDULE, Schedule, ScheduledVersion};
use airouter_store::{Seen, StoreError};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::audit;
use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::plan_admin::{add_version, plan_id};

/// So many are put in force at a time.
const PART: i64 = 100;

#[async_trait]
impl Schedule for SqliteStore {
    async fn scheduled_versions(&self, plan: &str) -> Result<Vec<ScheduledVersion>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        of_plan(&mut reader, plan).await
    }

    async fn schedule_version(
        &self,
        version: &ScheduledVersion,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        add(&mut transaction, version, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn cancel_scheduled_version(
        &self,
        plan: &str,
        id: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        cancel(&mut transaction, plan, id, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn put_due_versions_in_force(&self, now: Timestamp) -> Result<usize, StoreError> {
        let at = now.as_micros();
        let is_due = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM scheduled_plan_versions WHERE effective_from <= $1) AS "due!: bool""#,
            at
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        if !is_due {
            return Ok(0);
        }
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let put = put_due(&mut transaction, now).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(put)
    }
}

struct Row {
    id: Vec<u8>,
    plan: String,
    effective_from: i64,
    terms: String,
}

impl Row {
    fn read(self) -> Result<ScheduledVersion, StoreError> {
        let column = |name| Column::new("scheduled_plan_versions", name);
        let id = column("id").uuid(&self.id)?;
        let terms: PlanTerms =
            serde_json::from_str(&self.terms).map_err(|_| column("terms").corrupt(id))?;
        Ok(ScheduledVersion {
            id,
            plan: self.plan,
            effective_from: Timestamp::from_micros(self.effective_from),
            terms,
        })
    }
}

async fn of_plan(
    connection: &mut SqliteConnection,
    plan: &str,
) -> Result<Vec<ScheduledVersion>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT s.id AS "id!", p.name AS plan, s.effective_from, s.terms
        FROM scheduled_plan_versions s JOIN plans p ON p.id = s.plan_id
        WHERE p.name = $1 ORDER BY s.effective_from, s.id"#,
        plan
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter().map(Row::read).collect()
}

async fn add(
    connection: &mut SqliteConnection,
    version: &ScheduledVersion,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let plan = plan_id(connection, &version.plan).await?;
    let terms = serde_json::to_string(&version.terms)
        .map_err(|error| StoreError::Refused(Box::new(error)))?;
    let (from, most) = (
        version.effective_from.as_micros(),
        i64::from(MOST_SCHEDULED),
    );
    let added = sqlx::query!(
        "INSERT INTO scheduled_plan_versions (id, plan_id, effective_from, terms)
        SELECT $1, $2, $3, $4
        WHERE (SELECT count(*) FROM scheduled_plan_versions WHERE plan_id = $2) < $5",
        version.id,
        plan,
        from,
        terms,
        most
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if added.rows_affected() == 0 {
        return Err(StoreError::InUse {
            what: "the schedule",
        });
    }
    let told = audit.telling("plan", &version.plan, None, Some(&version.described()));
    audit::append(connection, &told).await
}

async fn cancel(
    connection: &mut SqliteConnection,
    plan: &str,
    id: Uuid,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let found = of_plan(connection, plan).await?;
    let found = found.iter().find(|version| version.id == id);
    let not_found = StoreError::NotFound {
        what: "the scheduled version",
    };
    let version = found.ok_or(not_found)?;
    if !remove(connection, id).await? {
        return Err(StoreError::NotFound {
            what: "the scheduled version",
        });
    }
    let told = audit.telling("plan", plan, Some(&version.described()), None);
    audit::append(connection, &told).await
}

/// Whether it was there.
async fn remove(connection: &mut SqliteConnection, id: Uuid) -> Result<bool, StoreError> {
    sqlx::query!("DELETE FROM scheduled_plan_versions WHERE id = $1", id)
        .execute(connection)
        .await
        .map(|removed| removed.rows_affected() > 0)
        .map_err(failed)
}

async fn put_due(connection: &mut SqliteConnection, now: Timestamp) -> Result<usize, StoreError> {
    let at = now.as_micros();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT s.id AS "id!", p.name AS plan, s.effective_from, s.terms
        FROM scheduled_plan_versions s JOIN plans p ON p.id = s.plan_id
        WHERE s.effective_from <= $1 ORDER BY s.effective_from, s.id LIMIT $2"#,
        at,
        PART
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let count = rows.len();
    for row in rows {
        let due = row.read()?;
        remove(connection, due.id).await?;
        let audit = AuditEntry::new(SCHEDULE, "plan.set", named("plan", &due.plan), now);
        let version = (&Seen::Whatever, &due.terms);
        add_version(connection, &due.plan, version, &audit).await?;
    }
    Ok(count)
}
