//! Price plans as the operator sees and changes them.

use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::{AccountId, PlanVersionId, Timestamp};
use airouter_store::audit::AuditEntry;
use airouter_store::plans::{PlanVersion, Plans, StoredPlan, described};
use airouter_store::{Seen, StoreError};
use async_trait::async_trait;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::audit;
use crate::connection::{begin, failed, insert_failed};
use crate::convert::{Column, counted};
use crate::open::SqliteStore;

#[async_trait]
impl Plans for SqliteStore {
    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        all(&mut reader).await
    }

    async fn plan_versions(
        &self,
        name: &str,
        before: Option<PlanVersionId>,
        limit: u16,
    ) -> Result<Vec<PlanVersion>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        versions(&mut reader, name, before, limit).await
    }

    async fn create_plan(
        &self,
        name: &str,
        terms: &PlanTerms,
        audit: &AuditEntry,
    ) -> Result<PlanVersionId, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let created = create(&mut transaction, name, terms, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(created)
    }

    async fn add_plan_version(
        &self,
        name: &str,
        seen: &Seen,
        terms: &PlanTerms,
        audit: &AuditEntry,
    ) -> Result<PlanVersionId, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let added = add_version(&mut transaction, name, (seen, terms), audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(added)
    }

    async fn set_plan(
        &self,
        account: AccountId,
        plan: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        give(&mut transaction, account, plan, audit).await?;
        transaction.commit().await.map_err(failed)
    }
}

async fn all(connection: &mut SqliteConnection) -> Result<Vec<StoredPlan>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT p.name, v.id AS "id!: i64", v.rule AS "rule!", v.overrides AS "overrides!",
            v.policy AS "policy!", v.created_at,
            (SELECT count(*) FROM accounts a WHERE a.plan_id = p.id) AS "accounts!: i64"
        FROM plans p
        JOIN plan_versions v ON v.id = (SELECT max(id) FROM plan_versions WHERE plan_id = p.id)
        ORDER BY p.name"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            Ok(StoredPlan {
                version: PlanVersionId::new(row.id),
                since: Timestamp::from_micros(row.created_at),
                terms: terms(row.id, [&row.rule, &row.overrides, &row.policy])?,
                accounts: counted(row.accounts),
                name: row.name,
            })
        })
        .collect()
}

async fn versions(
    connection: &mut SqliteConnection,
    name: &str,
    before: Option<PlanVersionId>,
    limit: u16,
) -> Result<Vec<PlanVersion>, StoreError> {
    let before = before.map(PlanVersionId::get);
    let limit = i64::from(limit);
    let rows = sqlx::query!(
        r#"SELECT v.id AS "id!: i64", v.rule AS "rule!", v.overrides AS "overrides!", v.policy AS "policy!",
            v.created_at
        FROM plan_versions v JOIN plans p ON p.id = v.plan_id
        WHERE p.name = $1 AND ($2 IS NULL OR v.id < $2)
        ORDER BY v.id DESC LIMIT $3"#,
        name,
        before,
        limit
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            Ok(PlanVersion {
                version: PlanVersionId::new(row.id),
                since: Timestamp::from_micros(row.created_at),
                terms: terms(row.id, [&row.rule, &row.overrides, &row.policy])?,
            })
        })
        .collect()
}

/// What a version says, by its columns rule, overrides and policy.
fn terms(version: i64, [rule, overrides, policy]: [&str; 3]) -> Result<PlanTerms, StoreError> {
    let corrupt = |column| Column::new("plan_versions", column).corrupt(version);
    Ok(PlanTerms {
        rule: serde_json::from_str(rule).map_err(|_| corrupt("rule"))?,
        overrides: serde_json::from_str(overrides).map_err(|_| corrupt("overrides"))?,
        policy: serde_json::from_str(policy).map_err(|_| corrupt("policy"))?,
    })
}

async fn create(
    connection: &mut SqliteConnection,
    name: &str,
    terms: &PlanTerms,
    audit: &AuditEntry,
) -> Result<PlanVersionId, StoreError> {
    let plan = sqlx::query_scalar!(
        r#"INSERT INTO plans (name) VALUES ($1) RETURNING id AS "id!: i64""#,
        name
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "a plan of this name"))?;
    let version = insert_version(connection, plan, terms, audit.at).await?;
    let told = audit.telling("plan", name, None, Some(&described(version, terms)));
    audit::append(connection, &told).await?;
    Ok(version)
}

/// Puts a version in force in a transaction that the caller has begun.
pub(crate) async fn add_version(
    connection: &mut SqliteConnection,
    name: &str,
    (seen, terms): (&Seen, &PlanTerms),
    audit: &AuditEntry,
) -> Result<PlanVersionId, StoreError> {
    let plan = plan_id(connection, name).await?;
    let last = versions(connection, name, None, 1).await?;
    let was = last
        .first()
        .map(|last| described(last.version, &last.terms));
    seen.check(was.as_ref())?;
    let version = insert_version(connection, plan, terms, audit.at).await?;
    let is = described(version, terms);
    let told = audit.telling("plan", name, was.as_ref(), Some(&is));
    audit::append(connection, &told).await?;
    Ok(version)
}

/// A plan by its name.
pub(crate) async fn plan_id(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id!: i64" FROM plans WHERE name = $1"#,
        name
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound { what: "the plan" })
}

async fn give(
    connection: &mut SqliteConnection,
    account: AccountId,
    plan: &str,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let (id, payer) = (plan_id(connection, plan).await?, account.get());
    let before = sqlx::query_scalar!(
        "SELECT p.name FROM accounts a JOIN plans p ON p.id = a.plan_id WHERE a.id = $1",
        payer
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the account",
    })?;
    sqlx::query!("UPDATE accounts SET plan_id = $2 WHERE id = $1", payer, id)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let told = AuditEntry {
        before: Some(json!({ "plan": before }).to_string()),
        after: Some(json!({ "plan": plan }).to_string()),
        ..audit.clone()
    };
    audit::append(connection, &told).await
}

async fn insert_version(
    connection: &mut SqliteConnection,
    plan: i64,
    terms: &PlanTerms,
    at: Timestamp,
) -> Result<PlanVersionId, StoreError> {
    let text = |value: serde_json::Result<String>| {
        value.map_err(|error| StoreError::Refused(Box::new(error)))
    };
    let rule = text(serde_json::to_string(&terms.rule))?;
    let overrides = text(serde_json::to_string(&terms.overrides))?;
    let policy = text(serde_json::to_string(&terms.policy))?;
    let at = at.as_micros();
    sqlx::query_scalar!(
        r#"INSERT INTO plan_versions (plan_id, rule, overrides, policy, created_at)
        VALUES ($1, $2, $3, $4, $5) RETURNING id AS "id!: i64""#,
        plan,
        rule,
        overrides,
        policy,
        at
    )
    .fetch_one(connection)
    .await
    .map(PlanVersionId::new)
    .map_err(failed)
}
