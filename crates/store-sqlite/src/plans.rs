//! Price plans: immutable versions, kept in memory once they were read.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use airouter_billing::plan::SharedPlan;
use airouter_billing::{Plan, PlanVersionId};
use airouter_store::StoreError;

use crate::connection::failed;
use crate::convert::Column;
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
