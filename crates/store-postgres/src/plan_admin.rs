//! Price plans as the operator sees and changes them.

use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::{AccountId, PlanVersionId, Timestamp};
use airouter_store::audit::AuditEntry;
use airouter_store::plans::{PlanVersion, Plans, StoredPlan, described};
use airouter_store::{Seen, StoreError};
use async_trait::async_trait;
use serde_json::json;
use sqlx::PgConnection;

use crate::audit;
use crate::connection::{failed, insert_failed};
use crate::convert::{Column, counted, timestamptz};
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

#[async_trait]
impl Plans for PostgresStore {
    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError> {
        self.on_pool(async |connection| all(connection).await).await
    }

    async fn plan_versions(
        &self,
        name: &str,
        before: Option<PlanVersionId>,
        limit: u16,
    ) -> Result<Vec<PlanVersion>, StoreError> {
        self.on_pool(async |connection| versions(connection, name, before, limit).await)
            .await
    }

    async fn create_plan(
        &self,
        name: &str,
        terms: &PlanTerms,
        audit: &AuditEntry,
    ) -> Result<PlanVersionId, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let created = create(&mut transaction, name, terms, audit).await;
            finish(transaction, created).await
        })
        .await
    }

    async fn add_plan_version(
        &self,
        name: &str,
        seen: &Seen,
        terms: &PlanTerms,
        audit: &AuditEntry,
    ) -> Result<PlanVersionId, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let added = add_version(&mut transaction, name, (seen, terms), audit).await;
            finish(transaction, added).await
        })
        .await
    }

    async fn set_plan(
        &self,
        account: AccountId,
        plan: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let set = give(&mut transaction, account, plan, audit).await;
            finish(transaction, set).await
        })
        .await
    }
}

async fn all(connection: &mut PgConnection) -> Result<Vec<StoredPlan>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT p.name, v.id, v.rule::text AS "rule!", v.overrides::text AS "overrides!",
            v.policy::text AS "policy!", v.created_at,
            (SELECT count(*) FROM accounts a WHERE a.plan_id = p.id) AS "accounts!"
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
                since: Timestamp::from(row.created_at),
                terms: terms(row.id, [&row.rule, &row.overrides, &row.policy])?,
                accounts: counted(row.accounts),
                name: row.name,
            })
        })
        .collect()
}

async fn versions(
    connection: &mut PgConnection,
    name: &str,
    before: Option<PlanVersionId>,
    limit: u16,
) -> Result<Vec<PlanVersion>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT v.id, v.rule::text AS "rule!", v.overrides::text AS "overrides!", v.policy::text AS "policy!",
            v.created_at
        FROM plan_versions v JOIN plans p ON p.id = v.plan_id
        WHERE p.name = $1 AND ($2::bigint IS NULL OR v.id < $2)
        ORDER BY v.id DESC LIMIT $3"#,
        name,
        before.map(PlanVersionId::get),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            Ok(PlanVersion {
                version: PlanVersionId::new(row.id),
                since: Timestamp::from(row.created_at),
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
    connection: &mut PgConnection,
    name: &str,
    terms: &PlanTerms,
    audit: &AuditEntry,
) -> Result<PlanVersionId, StoreError> {
    let plan = sqlx::query_scalar!("INSERT INTO plans (name) VALUES ($1) RETURNING id", name)
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
    connection: &mut PgConnection,
    name: &str,
    (seen, terms): (&Seen, &PlanTerms),
    audit: &AuditEntry,
) -> Result<PlanVersionId, StoreError> {
    let plan = locked_plan(connection, name).await?;
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

/// A plan of which nobody else adds a version until the transaction ends.
pub(crate) async fn locked_plan(
    connection: &mut PgConnection,
    name: &str,
) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        "SELECT id FROM plans WHERE name = $1 FOR NO KEY UPDATE",
        name
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound { what: "the plan" })
}

async fn give(
    connection: &mut PgConnection,
    account: AccountId,
    plan: &str,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let id = sqlx::query_scalar!("SELECT id FROM plans WHERE name = $1", plan)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?
        .ok_or(StoreError::NotFound { what: "the plan" })?;
    let before = sqlx::query_scalar!(
        "SELECT p.name FROM accounts a JOIN plans p ON p.id = a.plan_id WHERE a.id = $1 FOR UPDATE OF a",
        account.get()
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the account",
    })?;
    sqlx::query!(
        "UPDATE accounts SET plan_id = $2 WHERE id = $1",
        account.get(),
        id
    )
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
    connection: &mut PgConnection,
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
    sqlx::query_scalar!(
        "INSERT INTO plan_versions (plan_id, rule, overrides, policy, created_at)
        VALUES ($1, $2::text::json, $3::text::json, $4::text::json, $5) RETURNING id",
        plan,
        rule,
        overrides,
        policy,
        timestamptz(at)
    )
    .fetch_one(connection)
    .await
    .map(PlanVersionId::new)
    .map_err(failed)
}
