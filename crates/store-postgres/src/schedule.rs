//! Versions of price plans that are to come.

use airouter_billing::Timestamp;
use airouter_billing::plan_terms::PlanTerms;
use airouter_store::audit::{AuditEntry, named};
use airouter_store::schedule::{MOST_SCHEDULED, SCHEDULE, Schedule, ScheduledVersion};
use airouter_store::{Seen, StoreError};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit;
use crate::connection::failed;
use crate::convert::{Column, timestamptz};
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;
use crate::plan_admin::{add_version, locked_plan};

/// So many are put in force at a time.
const PART: i64 = 100;

#[async_trait]
impl Schedule for PostgresStore {
    async fn scheduled_versions(&self, plan: &str) -> Result<Vec<ScheduledVersion>, StoreError> {
        self.on_pool(async |connection| of_plan(connection, plan).await)
            .await
    }

    async fn schedule_version(
        &self,
        version: &ScheduledVersion,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let added = add(&mut transaction, version, audit).await;
            finish(transaction, added).await
        })
        .await
    }

    async fn cancel_scheduled_version(
        &self,
        plan: &str,
        id: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let cancelled = cancel(&mut transaction, plan, id, audit).await;
            finish(transaction, cancelled).await
        })
        .await
    }

    async fn put_due_versions_in_force(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.on_pool(async |connection| {
            let is_due = sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM scheduled_plan_versions WHERE effective_from <= $1) AS "due!""#,
                timestamptz(now)
            )
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
            if !is_due {
                return Ok(0);
            }
            let mut transaction = begin(connection).await?;
            let put = put_due(&mut transaction, now).await;
            finish(transaction, put).await
        })
        .await
    }
}

struct Row {
    id: Uuid,
    plan: String,
    effective_from: time::OffsetDateTime,
    terms: String,
}

impl Row {
    fn read(self) -> Result<ScheduledVersion, StoreError> {
        let terms: PlanTerms = serde_json::from_str(&self.terms)
            .map_err(|_| Column::new("scheduled_plan_versions", "terms").corrupt(self.id))?;
        Ok(ScheduledVersion {
            id: self.id,
            plan: self.plan,
            effective_from: Timestamp::from(self.effective_from),
            terms,
        })
    }
}

async fn of_plan(
    connection: &mut PgConnection,
    plan: &str,
) -> Result<Vec<ScheduledVersion>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT s.id, p.name AS plan, s.effective_from, s.terms
        FROM scheduled_plan_versions s JOIN plans p ON p.id = s.plan_id
        WHERE p.name = $1 ORDER BY s.effective_from, s.id",
        plan
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter().map(Row::read).collect()
}

async fn add(
    connection: &mut PgConnection,
    version: &ScheduledVersion,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let plan = locked_plan(connection, &version.plan).await?;
    let terms = serde_json::to_string(&version.terms)
        .map_err(|error| StoreError::Refused(Box::new(error)))?;
    let added = sqlx::query!(
        "INSERT INTO scheduled_plan_versions (id, plan_id, effective_from, terms)
        SELECT $1, $2, $3, $4
        WHERE (SELECT count(*) FROM scheduled_plan_versions WHERE plan_id = $2) < $5",
        version.id,
        plan,
        timestamptz(version.effective_from),
        terms,
        i64::from(MOST_SCHEDULED)
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
    connection: &mut PgConnection,
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
async fn remove(connection: &mut PgConnection, id: Uuid) -> Result<bool, StoreError> {
    sqlx::query!("DELETE FROM scheduled_plan_versions WHERE id = $1", id)
        .execute(connection)
        .await
        .map(|removed| removed.rows_affected() > 0)
        .map_err(failed)
}

/// Whoever comes second waits and finds nothing left, so that versions of a plan keep their order.
async fn put_due(connection: &mut PgConnection, now: Timestamp) -> Result<usize, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT s.id, p.name AS plan, s.effective_from, s.terms
        FROM scheduled_plan_versions s JOIN plans p ON p.id = s.plan_id
        WHERE s.effective_from <= $1 ORDER BY s.effective_from, s.id LIMIT $2 FOR UPDATE OF s",
        timestamptz(now),
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
