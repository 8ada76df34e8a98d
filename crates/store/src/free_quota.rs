//! The day's quota of free models, which upstreams give to a master account and all its tenants share: what was used of it.

use airouter_billing::{AccountId, MasterAccountId, Timestamp};
use async_trait::async_trait;
use uuid::Uuid;

use crate::error::StoreError;

/// How many requests of free models there were in a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreeQuotaUse {
    /// On which master account; each once.
    pub accounts: Vec<(MasterAccountId, u32)>,
    /// Of which tenant; each once.
    pub tenants: Vec<(AccountId, u32)>,
}

/// What was used of a day's quota. It is no money: what was not written down is found out from the upstream's refusals.
#[async_trait]
pub trait FreeQuota: Send + Sync + 'static {
    /// Writes down what a counter has counted in the day that begins at `day`, none of which is 0, and tells what all other
    /// counters have, in sum. A count that is smaller than one written before changes nothing. Days before yesterday are
    /// forgotten.
    async fn share_free_quota(
        &self,
        counter: Uuid,
        day: Timestamp,
        own: &FreeQuotaUse,
    ) -> Result<FreeQuotaUse, StoreError>;
}

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeQuotaOwner {
    /// A master account.
    Account,
    /// A tenant.
    Tenant,
}

impl FreeQuotaOwner {
    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Tenant => "tenant",
        }
    }
}

impl FreeQuotaUse {
    /// As rows: whose, and how many.
    pub fn rows(&self) -> impl Iterator<Item = (FreeQuotaOwner, Uuid, u32)> {
        let accounts = self.accounts.iter();
        let tenants = self.tenants.iter();
        accounts
            .map(|(id, used)| (FreeQuotaOwner::Account, id.get(), *used))
            .chain(tenants.map(|(id, used)| (FreeQuotaOwner::Tenant, id.get(), *used)))
    }

    /// From rows: the name of whose, and how many. Names that are not known, of a later version, say nothing here.
    pub fn from_rows(rows: impl Iterator<Item = (String, Uuid, i64)>) -> Self {
        let mut uses = Self::default();
        for (kind, id, used) in rows {
            let used = u32::try_from(used).unwrap_or(u32::MAX);
            if kind == FreeQuotaOwner::Account.name() {
                uses.accounts.push((MasterAccountId::new(id), used));
            } else if kind == FreeQuotaOwner::Tenant.name() {
                uses.tenants.push((AccountId::new(id), used));
            }
        }
        uses
    }
}
