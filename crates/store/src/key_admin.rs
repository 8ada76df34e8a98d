//! Client keys as their owners and the operator see and change them. Every change writes an entry of the audit log in its
//! own transaction.

use airouter_auth::AddressAccess;
use airouter_billing::{AccountId, ApiKeyId, ModelAccess, Nanos, Period, Quantity, Timestamp};
use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::client_admin::Changed;
use crate::clients::{NewCap, NewKey, RequestLimits};
use crate::error::StoreError;

/// What a key may spend, and how often that starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendLimit {
    /// How much.
    pub amount: Nanos,
    /// How often it starts anew.
    pub period: Period,
}

/// What is set of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// What its owner calls it.
    pub name: String,
    /// Limits by the minute and in parallel.
    pub limits: RequestLimits,
    /// What it may spend. All that it spends in a period counts, also what it did before the limit was set.
    pub spend_limit: Option<SpendLimit>,
    /// Requests a day; counted like what it spends.
    pub requests_per_day: Option<u32>,
    /// Which models it may use.
    pub models: ModelAccess,
    /// From which addresses.
    pub addresses: AddressAccess,
    /// From when on it may not be used.
    pub expires_at: Option<Timestamp>,
}

/// What is left of a key's limits in their present periods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLeft {
    /// Of the spend limit, if there is one.
    pub spend: Option<Nanos>,
    /// Of the requests a day, if they are limited.
    pub requests: Option<u32>,
}

/// A client key as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key's id.
    pub id: ApiKeyId,
    /// How it may be shown: `sk-air-abc…xyz`.
    pub preview: String,
    /// The account that it belongs to.
    pub owner: AccountId,
    /// Who pays for it.
    pub payer: AccountId,
    /// What is set of it.
    pub settings: KeySettings,
    /// What is left of its limits.
    pub left: KeyLeft,
    /// Since when there is the key.
    pub created_at: Timestamp,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// A budget of a key, as adapters read it.
#[derive(Clone, Copy, Debug)]
pub struct KeyBudget {
    /// What it caps.
    pub quantity: Quantity,
    /// How often it starts anew.
    pub period: Period,
    /// How much.
    pub cap: i64,
    /// How much of it is used in the present period.
    pub used: i64,
}

/// A cap of a key that is set or, with `None`, lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapChange {
    /// What it caps.
    pub quantity: Quantity,
    /// How often it starts anew.
    pub period: Period,
    /// How much.
    pub cap: Option<i64>,
}

impl KeySettings {
    /// The budgets that a new key with these settings has.
    pub fn caps(&self) -> Vec<NewCap> {
        let spending = self.spend_limit.map(|limit| NewCap {
            quantity: Quantity::Nanos,
            period: limit.period,
            cap: limit.amount.get(),
        });
        let requests = self.requests_per_day.map(|requests| NewCap {
            quantity: Quantity::Requests,
            period: Period::Day,
            cap: requests.into(),
        });
        spending.into_iter().chain(requests).collect()
    }

    /// What has to become of the budgets of a key that was set as `before`.
    pub fn cap_changes(&self, before: &Self) -> Vec<CapChange> {
        let (old, new) = (before.caps(), self.caps());
        let is_of = |cap: &NewCap, other: &NewCap| {
            (cap.quantity, cap.period) == (other.quantity, other.period)
        };
        let change = |cap: &NewCap, to| CapChange {
            quantity: cap.quantity,
            period: cap.period,
            cap: to,
        };
        let lifted = old
            .iter()
            .filter(|old| !new.iter().any(|new| is_of(old, new)))
            .map(|old| change(old, None));
        let set = new
            .iter()
            .filter(|new| !old.contains(new))
            .map(|new| change(new, Some(new.cap)));
        lifted.chain(set).collect()
    }
}

impl KeyRecord {
    /// Notes a budget of the key. Of several in money the last one that is noted is shown.
    pub fn note(&mut self, budget: KeyBudget) {
        let left = budget.cap.saturating_sub(budget.used).max(0);
        let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
        match (budget.quantity, budget.period) {
            (Quantity::Nanos, period) => {
                let amount = Nanos::new(budget.cap);
                self.settings.spend_limit = Some(SpendLimit { amount, period });
                self.left.spend = Some(Nanos::new(left));
            }
            (Quantity::Requests, Period::Day) => {
                self.settings.requests_per_day = Some(number(budget.cap));
                self.left.requests = Some(number(left));
            }
            // Nothing here sets such a one.
            (Quantity::Requests, Period::None | Period::Week | Period::Month) => {}
        }
    }
}

/// Whose keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHolder {
    /// Those that belong to the account.
    Owner(AccountId),
    /// Those that the account pays for.
    Payer(AccountId),
    /// All that have to do with it.
    Either(AccountId),
}

impl KeyHolder {
    /// The account whose keys are meant, if it is as their owner, and if it is as their payer.
    pub const fn columns(self) -> (Option<AccountId>, Option<AccountId>) {
        match self {
            Self::Owner(account) => (Some(account), None),
            Self::Payer(account) => (None, Some(account)),
            Self::Either(account) => (Some(account), Some(account)),
        }
    }
}

/// Which keys, and how many at most.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery {
    /// Whose.
    pub holder: KeyHolder,
    /// Only those after this one, in the order of their ids.
    pub after: Option<ApiKeyId>,
    /// At most so many.
    pub limit: u16,
    /// In whose periods it is told what is left.
    pub now: Timestamp,
}

/// Client keys by who has to do with them.
#[async_trait]
pub trait KeyAdmin: Send + Sync + 'static {
    /// Keys in the order of their ids, revoked ones too.
    async fn keys_of(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, StoreError>;

    /// One of the holder's keys.
    async fn key_of(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        now: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError>;

    /// How many keys that belong to the account are not revoked.
    async fn live_keys_of(&self, account: AccountId) -> Result<u64, StoreError>;

    /// Creates a key as [`crate::Clients::create_key`] does.
    async fn issue_key(
        &self,
        account: AccountId,
        payer: Option<AccountId>,
        key: &NewKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Changes what is set of a key, if it still is as `expected`. A limit that is set counts what the key has spent in the
    /// present period; only requests that run at that moment are left out. [`StoreError::NotFound`] when the holder has no
    /// such key.
    async fn change_key(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        change: &KeyChange,
    ) -> Result<Changed, StoreError>;

    /// Revokes a key; one that is revoked stays so since the first time, and nothing is written. [`StoreError::NotFound`]
    /// when the holder has none of this id.
    async fn revoke_key_of(
        &self,
        holder: KeyHolder,
        key: ApiKeyId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
}

/// A change of what is set of a key.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// What its author has seen.
    pub expected: KeySettings,
    /// What is to be.
    pub settings: KeySettings,
    /// What the audit log says of it.
    pub audit: AuditEntry,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(spend_limit: Option<(i64, Period)>, requests_per_day: Option<u32>) -> KeySettings {
        KeySettings {
            name: "a key".to_owned(),
            limits: RequestLimits::default(),
            spend_limit: spend_limit.map(|(amount, period)| SpendLimit {
                amount: Nanos::new(amount),
                period,
            }),
            requests_per_day,
            models: ModelAccess::All,
            addresses: AddressAccess::All,
            expires_at: None,
        }
    }

    fn changes(before: &KeySettings, after: &KeySettings) -> Vec<(Quantity, Period, Option<i64>)> {
        let changes = after.cap_changes(before);
        let row = |change: CapChange| (change.quantity, change.period, change.cap);
        changes.into_iter().map(row).collect()
    }

    #[test]
    fn a_limit_with_another_reset_is_another_budget() {
        let monthly = settings(Some((5, Period::Month)), None);
        let daily = settings(Some((5, Period::Day)), Some(7));
        assert_eq!(
            changes(&monthly, &daily),
            [
                (Quantity::Nanos, Period::Month, None),
                (Quantity::Nanos, Period::Day, Some(5)),
                (Quantity::Requests, Period::Day, Some(7)),
            ]
        );
        let more = settings(Some((6, Period::Day)), Some(7));
        assert_eq!(
            changes(&daily, &more),
            [(Quantity::Nanos, Period::Day, Some(6))]
        );
        let none = settings(None, None);
        assert_eq!(
            changes(&more, &none),
            [
                (Quantity::Nanos, Period::Day, None),
                (Quantity::Requests, Period::Day, None),
            ]
        );
        assert_eq!(changes(&more, &more), []);
    }
}
