//! Price plans: immutable versions, kept in memory once they were read.

use std::collections::HashMap;
use std::sync::Arc;

use airouter_billing::plan::SharedPlan;
use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::{AccountId, Plan, PlanVersionId, Timestamp};
use airouter_store::StoreError;
use airouter_store::plans::{Plans, StoredPlan};
use async_trait::async_trait;
use sqlx::{Connection as _, PgConnection};

use crate::connection::{failed, insert_failed};
use crate::convert::{Column, counted, timestamptz};
use crate::open::PostgresStore;

/// More versions than are in use at a time; beyond that the cache starts anew.
const MOST_PLANS: usize = 1_000;

/// Versions that were read.
#[derive(Debug, Default)]
pub(crate) struct PlanCache(HashMap<PlanVersionId, SharedPlan>);

impl PlanCache {
    /// One version of a plan.
    pub(crate) async fn plan(
        &mut self,
        connection: &mut PgConnection,
        version: PlanVersionId,
    ) -> Result<SharedPlan, StoreError> {
        if let Some(plan) = self.0.get(&version) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(read(connection, version).await?);
        if self.0.len() >= MOST_PLANS {
            self.0.clear();
        }
        self.0.insert(version, Arc::clone(&plan));
        Ok(plan)
    }
}

async fn read(connection: &mut PgConnection, version: PlanVersionId) -> Result<Plan, StoreError> {
    let id = version.get();
    let row = sqlx::query!(
        r#"SELECT rule::text AS "rule!", overrides::text AS "overrides!", policy::text AS "policy!"
        FROM plan_versions WHERE id = $1"#,
        id
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the plan's version",
    })?;
    let corrupt = |column| Column::new("plan_versions", column).corrupt(id);
    let plan = Plan {
        version,
        rule: serde_json::from_str(&row.rule).map_err(|_| corrupt("rule"))?,
        overrides: serde_json::from_str(&row.overrides).map_err(|_| corrupt("overrides"))?,
        policy: serde_json::from_str(&row.policy).map_err(|_| corrupt("policy"))?,
    };
    if !std::iter::once(&plan.rule)
        .chain(plan.overrides.values())
        .all(airouter_billing::PriceRule::is_valid)
    {
        return Err(corrupt("rule"));
    }
    Ok(plan)
}

#[async_trait]
impl Plans for PostgresStore {
    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError> {
        self.on_pool(async |connection| all(connection).await).await
    }

    async fn create_plan(
        &self,
        name: &str,
        terms: &PlanTerms,
        at: Timestamp,
    ) -> Result<PlanVersionId, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = connection.begin().await.map_err(failed)?;
            let plan =
                sqlx::query_scalar!("INSERT INTO plans (name) VALUES ($1) RETURNING id", name)
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(|error| insert_failed(error, "a plan of this name"))?;
            let version = insert_version(&mut transaction, plan, terms, at).await?;
            transaction.commit().await.map_err(failed)?;
            Ok(version)
        })
        .await
    }

    async fn add_plan_version(
        &self,
        name: &str,
        terms: &PlanTerms,
        at: Timestamp,
    ) -> Result<PlanVersionId, StoreError> {
        self.on_pool(async |connection| {
            let plan = plan_id(connection, name).await?;
            insert_version(connection, plan, terms, at).await
        })
        .await
    }

    async fn set_plan(&self, account: AccountId, plan: &str) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let plan = plan_id(connection, plan).await?;
            let changed = sqlx::query!(
                "UPDATE accounts SET plan_id = $2 WHERE id = $1",
                account.get(),
                plan
            )
            .execute(connection)
            .await
            .map_err(failed)?;
            if changed.rows_affected() == 0 {
                return Err(StoreError::NotFound {
                    what: "the account",
                });
            }
            Ok(())
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
            let corrupt = |column| Column::new("plan_versions", column).corrupt(row.id);
            Ok(StoredPlan {
                version: PlanVersionId::new(row.id),
                since: Timestamp::from(row.created_at),
                terms: PlanTerms {
                    rule: serde_json::from_str(&row.rule).map_err(|_| corrupt("rule"))?,
                    overrides: serde_json::from_str(&row.overrides)
                        .map_err(|_| corrupt("overrides"))?,
                    policy: serde_json::from_str(&row.policy).map_err(|_| corrupt("policy"))?,
                },
                accounts: counted(row.accounts),
                name: row.name,
            })
        })
        .collect()
}

async fn plan_id(connection: &mut PgConnection, name: &str) -> Result<i64, StoreError> {
    sqlx::query_scalar!("SELECT id FROM plans WHERE name = $1", name)
        .fetch_optional(connection)
        .await
        .map_err(failed)?
        .ok_or(StoreError::NotFound { what: "the plan" })
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
