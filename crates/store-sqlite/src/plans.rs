//! Price plans: immutable versions, kept in memory once they were read.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use airouter_billing::plan::SharedPlan;
use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::{AccountId, Plan, PlanVersionId, Timestamp};
use airouter_store::StoreError;
use airouter_store::plans::{Plans, StoredPlan};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::connection::{begin, failed, insert_failed};
use crate::convert::{Column, counted};
use crate::open::SqliteStore;

/// More versions than are in use at a time; beyond that the cache starts anew.
const MOST_PLANS: usize = 1_000;

/// Versions that were read.
#[derive(Debug, Default)]
pub(crate) struct PlanCache(RwLock<HashMap<PlanVersionId, SharedPlan>>);

impl PlanCache {
    fn get(&self, version: PlanVersionId) -> Option<SharedPlan> {
        self.0.read().ok()?.get(&version).cloned()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        if let Ok(mut plans) = self.0.write() {
            plans.clear();
        }
    }

    fn put(&self, plan: &SharedPlan) {
        if let Ok(mut plans) = self.0.write() {
            if plans.len() >= MOST_PLANS {
                plans.clear();
            }
            plans.insert(plan.version, Arc::clone(plan));
        }
    }
}

/// One version of a plan.
pub(crate) async fn plan(
    store: &SqliteStore,
    version: PlanVersionId,
) -> Result<SharedPlan, StoreError> {
    if let Some(plan) = store.plans.get(version) {
        return Ok(plan);
    }
    let id = version.get();
    let row = sqlx::query!(
        "SELECT rule, overrides, policy FROM plan_versions WHERE id = $1",
        id
    )
    .fetch_optional(&store.readers)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the plan's version",
    })?;
    let corrupt = |column| Column::new("plan_versions", column).corrupt(id);
    let plan = Arc::new(Plan {
        version,
        rule: serde_json::from_str(&row.rule).map_err(|_| corrupt("rule"))?,
        overrides: serde_json::from_str(&row.overrides).map_err(|_| corrupt("overrides"))?,
        policy: serde_json::from_str(&row.policy).map_err(|_| corrupt("policy"))?,
    });
    if !std::iter::once(&plan.rule)
        .chain(plan.overrides.values())
        .all(airouter_billing::PriceRule::is_valid)
    {
        return Err(corrupt("rule"));
    }
    store.plans.put(&plan);
    Ok(plan)
}

#[async_trait]
impl Plans for SqliteStore {
    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT p.name, v.id, v.rule, v.overrides, v.policy, v.created_at,
                (SELECT count(*) FROM accounts a WHERE a.plan_id = p.id) AS "accounts!: i64"
            FROM plans p
            JOIN plan_versions v ON v.id = (SELECT max(id) FROM plan_versions WHERE plan_id = p.id)
            ORDER BY p.name"#
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                let corrupt = |column| Column::new("plan_versions", column).corrupt(row.id);
                Ok(StoredPlan {
                    version: PlanVersionId::new(row.id),
                    since: Timestamp::from_micros(row.created_at),
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

    async fn create_plan(
        &self,
        name: &str,
        terms: &PlanTerms,
        at: Timestamp,
    ) -> Result<PlanVersionId, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let plan = sqlx::query_scalar!(
            r#"INSERT INTO plans (name) VALUES ($1) RETURNING id AS "id!: i64""#,
            name
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| insert_failed(error, "a plan of this name"))?;
        let version = insert_version(&mut transaction, plan, terms, at).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(version)
    }

    async fn add_plan_version(
        &self,
        name: &str,
        terms: &PlanTerms,
        at: Timestamp,
    ) -> Result<PlanVersionId, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let plan = plan_id(&mut transaction, name).await?;
        let version = insert_version(&mut transaction, plan, terms, at).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(version)
    }

    async fn set_plan(&self, account: AccountId, plan: &str) -> Result<(), StoreError> {
        let account = account.get();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let plan = plan_id(&mut transaction, plan).await?;
        let changed = sqlx::query!(
            "UPDATE accounts SET plan_id = $2 WHERE id = $1",
            account,
            plan
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::NotFound {
                what: "the account",
            });
        }
        transaction.commit().await.map_err(failed)
    }
}

async fn plan_id(connection: &mut SqliteConnection, name: &str) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id!: i64" FROM plans WHERE name = $1"#,
        name
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound { what: "the plan" })
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
