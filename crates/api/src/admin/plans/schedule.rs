//! `/v1/admin/plans/{name}/schedule`: versions of a price plan that are to come.

pub(crate) mod add;
pub(crate) mod cancel;
pub(crate) mod list;

use airouter_billing::plan_terms::PlanTerms;
use airouter_store::schedule::ScheduledVersion as Stored;
use serde::Serialize;
use utoipa::ToSchema;

use crate::values::{Id, Time};

/// A version of a price plan that is to come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduledVersion {
    /// Its id, until it is a version.
    id: Id,
    /// From when on it is in force.
    effective_from: Time,
    /// What it says.
    #[schema(value_type = Object)]
    terms: PlanTerms,
}

impl From<Stored> for ScheduledVersion {
    fn from(version: Stored) -> Self {
        Self {
            id: Id(version.id),
            effective_from: Time(version.effective_from),
            terms: version.terms,
        }
    }
}
