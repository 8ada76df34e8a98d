//! Price plans: immutable versions, kept in memory once they were read.

use std::collections::HashMap;
use std::sync::Arc;

use airouter_billing::plan::SharedPlan;
use airouter_billing::{Plan, PlanVersionId};
use airouter_store::StoreError;
use sqlx::PgConnection;

use crate::connection::failed;
use crate::convert::Column;

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
