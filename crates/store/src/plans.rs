//! Price plans: named, each with immutable versions of which the last one is in force.

use airouter_billing::plan_terms::PlanTerms;
use airouter_billing::{AccountId, PlanVersionId, Timestamp};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::audit::AuditEntry;
use crate::error::StoreError;
use crate::seen::Seen;

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

impl StoredPlan {
    /// The version in force and what it says.
    pub fn described(&self) -> Value {
        described(self.version, &self.terms)
    }
}

/// A version of a plan and what it says.
pub fn described(version: PlanVersionId, terms: &PlanTerms) -> Value {
    json!({ "version": version.get(), "terms": terms })
}

/// A version of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVersion {
    /// Which.
    pub version: PlanVersionId,
    /// From when on it was in force, until the next one was.
    pub since: Timestamp,
    /// What it says.
    pub terms: PlanTerms,
}

/// Price plans. Every change writes its entry of the audit log in its own transaction, and happens at the time of that entry.
#[async_trait]
pub trait Plans: Send + Sync + 'static {
    /// Every plan, by name.
    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError>;

    /// At most `limit` versions of a plan, the last one first, of those before `before`.
    async fn plan_versions(
        &self,
        name: &str,
        before: Option<PlanVersionId>,
        limit: u16,
    ) -> Result<Vec<PlanVersion>, StoreError>;

    /// Creates a plan with its first version. [`StoreError::Exists`] when the name is taken.
    async fn create_plan(
        &self,
        name: &str,
        terms: &PlanTerms,
        audit: &AuditEntry,
    ) -> Result<PlanVersionId, StoreError>;

    /// Puts a new version of a plan in force; requests that were admitted keep the one before. [`StoreError::NotFound`]
    /// when there is no such plan, [`StoreError::ChangedMeanwhile`] when another version is in force than was seen.
    async fn add_plan_version(
        &self,
        name: &str,
        seen: &Seen,
        terms: &PlanTerms,
        audit: &AuditEntry,
    ) -> Result<PlanVersionId, StoreError>;

    /// Gives an account another plan. [`StoreError::NotFound`] when there is no such account or plan.
    async fn set_plan(
        &self,
        account: AccountId,
        plan: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
}
