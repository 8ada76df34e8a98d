//! Versions of price plans that are to come: each waits beside its plan, and becomes a version when its time has come.

use airouter_billing::Timestamp;
use airouter_billing::plan_terms::PlanTerms;
use async_trait::async_trait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{AuditEntry, told_time};
use crate::error::StoreError;

/// Who puts in force what was scheduled, in the audit log.
pub const SCHEDULE: &str = "schedule";
/// So many versions of a plan may wait at the same time.
pub const MOST_SCHEDULED: u16 = 100;

/// A version of a plan that is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledVersion {
    /// Its id, until it is a version.
    pub id: Uuid,
    /// The plan's name.
    pub plan: String,
    /// From when on it is in force.
    pub effective_from: Timestamp,
    /// What it says.
    pub terms: PlanTerms,
}

impl ScheduledVersion {
    /// What is to come.
    pub fn described(&self) -> Value {
        json!({
            "scheduled": self.id,
            "effective_from": told_time(self.effective_from),
            "terms": self.terms,
        })
    }
}

/// Versions of plans that are to come. Every change writes its entry of the audit log in its own transaction.
#[async_trait]
pub trait Schedule: Send + Sync + 'static {
    /// Those of a plan, the next one first.
    async fn scheduled_versions(&self, plan: &str) -> Result<Vec<ScheduledVersion>, StoreError>;

    /// Adds one. [`StoreError::NotFound`] when there is no such plan, [`StoreError::InUse`] when as many wait as may.
    async fn schedule_version(
        &self,
        version: &ScheduledVersion,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Takes one back. [`StoreError::NotFound`] when the plan has none of this id that waits.
    async fn cancel_scheduled_version(
        &self,
        plan: &str,
        id: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Puts in force what is due at `now`, the earliest first, whoever asks, and each once; they are versions of their plans
    /// then. Returns how many.
    async fn put_due_versions_in_force(&self, now: Timestamp) -> Result<usize, StoreError>;
}
