//! `/v1/admin/plans`: what clients pay and what they may use, in versions.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod schedule;
pub(crate) mod versions;

use airouter_billing::plan_terms::PlanTerms;
use airouter_store::plans::StoredPlan;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::values::Time;

/// A price plan.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plan {
    /// Its name.
    #[schema(example = "school")]
    name: String,
    /// The version in force.
    version: i64,
    /// Since when it is.
    since: Time,
    /// What it says, as the README describes it.
    #[schema(value_type = Object, example = json!({
        "rule": {"rule": "percent_of_list", "factor": "0.8"}, "overrides": {}, "policy": {}
    }))]
    terms: PlanTerms,
    /// How many accounts have it.
    accounts: u64,
}

impl From<StoredPlan> for Plan {
    fn from(plan: StoredPlan) -> Self {
        Self {
            name: plan.name,
            version: plan.version.get(),
            since: Time(plan.since),
            terms: plan.terms,
            accounts: plan.accounts,
        }
    }
}

/// Reads what a plan is to say; a problem tells all that is wrong with it.
fn terms(value: &Value) -> Result<PlanTerms, Problem> {
    PlanTerms::from_json(&value.to_string()).map_err(|faults| Problem::Unacceptable {
        field: "terms",
        reason: faults.to_string(),
    })
}
