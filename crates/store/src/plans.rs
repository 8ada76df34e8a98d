//! Price plans: named, each with immutable versions of which the last one is in force.

use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::{AccountId, PlanVersionId, Timestamp};
use async_trait::async_trait;

use crate::error::StoreError;

/// A plan as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlan {
    /// Its name.
    pub name: String,
    /// The version in force.
    pub version: PlanVersionId,
    /// Since when.
    pub since: Timestamp,
    /// What it says.
    pub terms: PlanTerms,
    /// How many accounts have it.
    pub accounts: u64,
}

/// Price plans.
#[async_trait]
pub trait Plans: Send + Sync + 'static {
    /// Every plan, by name.
    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError>;

    /// Creates a plan with its first version. [`StoreError::Exists`] when the name is taken.
    async fn create_plan(
        &self,
        name: &str,
        terms: &PlanTerms,
        at: Timestamp,
    ) -> Result<PlanVersionId, StoreError>;

    /// Puts a new version of a plan in force; requests that were admitted keep the one before. [`StoreError::NotFound`]
    /// when there is no such plan.
    async fn add_plan_version(
        &self,
        name: &str,
        terms: &PlanTerms,
        at: Timestamp,
    ) -> Result<PlanVersionId, StoreError>;

    /// Gives an account another plan. [`StoreError::NotFound`] when there is no such account or plan.
    async fn set_plan(&self, account: AccountId, plan: &str) -> Result<(), StoreError>;
}
