//! Master accounts: how one is added, changed and given keys.

use airouter_billing::{Discount, DiscountBasis, MasterAccountId, Timestamp};
use airouter_store::audit::AuditEntry;
use airouter_store::master_accounts::{
    Agreement, MasterAccount, MasterAccountChange, MasterAccountKey, MasterAccountStatus,
    MostShare, NewMasterAccount, UpstreamKind, Weight,
};
use airouter_store::{Seen, Store, StoreError};
use rust_decimal::Decimal;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::InventoryError;
use crate::names;
use crate::upstreams::Upstreams;

/// More than any operator has.
const MOST_ACCOUNTS: usize = 1_000;
/// More than any account needs.
const MOST_KEYS: usize = 50;

/// What is said of a discount; the rest is as it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiscountWish {
    /// How much, in percent.
    pub percent: Option<Decimal>,
    /// Where it shows.
    pub basis: Option<DiscountBasis>,
}

impl DiscountWish {
    fn applied_to(self, old: Discount) -> Result<Discount, InventoryError> {
        let basis = self.basis.unwrap_or(old.basis());
        let discount = match self.percent {
            Some(percent) => Discount::from_percent(percent, basis),
            None => Discount::new(old.fraction(), basis),
        };
        discount.map_err(|_| InventoryError::Discount)
    }

    const fn is_empty(self) -> bool {
        self.percent.is_none() && self.basis.is_none()
    }
}

/// An account to be added.
#[derive(Debug)]
pub struct AccountToAdd {
    /// Its id.
    pub id: MasterAccountId,
    /// Its name; one that is free unless it is said.
    pub name: Option<String>,
    /// What its upstream speaks.
    pub kind: UpstreamKind,
    /// Its address; OpenRouter's unless it is said.
    pub base_url: Option<String>,
    /// Its discount.
    pub discount: DiscountWish,
    /// Its first key; a compatible server may want none.
    pub key: Option<SecretString>,
}

/// What is to change; what is not said stays.
#[derive(Debug, Default)]
pub struct AccountChanges {
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub base_url: Option<String>,
    /// The discount.
    pub discount: DiscountWish,
    /// The part of the load.
    pub weight: Option<Weight>,
    /// The concentration limit, or that there is none.
    pub most_share: Option<Option<MostShare>>,
    /// Where the agreement is to be found, or nowhere.
    pub agreement: Option<Option<String>>,
    /// When it ends, or that it does not.
    pub agreement_ends_at: Option<Option<Timestamp>>,
    /// The management key, or that there is none.
    pub management_key: Option<Option<SecretString>>,
}

impl AccountChanges {
    /// Whether nothing is to change.
    pub const fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.base_url.is_none()
            && self.discount.is_empty()
            && self.weight.is_none()
            && self.most_share.is_none()
            && self.agreement.is_none()
            && self.agreement_ends_at.is_none()
            && self.management_key.is_none()
    }
}

/// Where master accounts are changed.
#[derive(Clone, Copy)]
pub struct MasterDesk<'a> {
    /// The database.
    pub store: &'a dyn Store,
    /// The upstreams.
    pub upstreams: &'a dyn Upstreams,
}

impl MasterDesk<'_> {
    /// Adds an account.
    pub async fn add(
        &self,
        wanted: AccountToAdd,
        audit: &AuditEntry,
    ) -> Result<NewMasterAccount, InventoryError> {
        let known = self.store.master_accounts().await?;
        if known.len() >= MOST_ACCOUNTS {
            return Err(InventoryError::TooManyAccounts);
        }
        let name = match &wanted.name {
            Some(name) => free(name, &known, None)?,
            None => any_name(&known),
        };
        let upstreams = self.upstreams;
        let (base_url, old) = match wanted.kind {
            UpstreamKind::OpenRouter => (
                wanted
                    .base_url
                    .unwrap_or_else(|| upstreams.default_base_url().to_owned()),
                upstreams.default_discount(),
            ),
            UpstreamKind::Compatible => (
                wanted.base_url.ok_or(InventoryError::AddressMissing)?,
                Discount::new(Decimal::ZERO, DiscountBasis::CreditsBoughtBelowPar).ok(),
            ),
        };
        if wanted.key.is_none() && wanted.kind == UpstreamKind::OpenRouter {
            return Err(InventoryError::KeyMissing);
        }
        self.check_address(&base_url)?;
        let key = wanted.key.as_ref().map(checked).transpose()?;
        let account = NewMasterAccount {
            id: wanted.id,
            name,
            kind: wanted.kind,
            base_url,
            key: upstreams.seal_key(wanted.id, wanted.id.get(), key)?,
            discount: wanted
                .discount
                .applied_to(old.ok_or(InventoryError::Discount)?)?,
        };
        self.store.add_master_account(&account, audit).await?;
        Ok(account)
    }

    /// Changes what was described as it was `seen`.
    pub async fn change(
        &self,
        account: &MasterAccount,
        wanted: AccountChanges,
        seen: &Seen,
        audit: &AuditEntry,
    ) -> Result<(), InventoryError> {
        let changes = self.changes(account, wanted).await?;
        let store = self.store;
        Ok(store
            .change_master_account(account.id, seen, &changes, audit)
            .await?)
    }

    async fn changes(
        &self,
        account: &MasterAccount,
        wanted: AccountChanges,
    ) -> Result<Vec<MasterAccountChange>, InventoryError> {
        let mut changes = Vec::new();
        if let Some(name) = wanted.name {
            let known = self.store.master_accounts().await?;
            let name = free(&name, &known, Some(account.id))?;
            changes.push(MasterAccountChange::Name(name));
        }
        if let Some(base_url) = wanted.base_url {
            self.check_address(&base_url)?;
            changes.push(MasterAccountChange::BaseUrl(base_url));
        }
        if !wanted.discount.is_empty() {
            let discount = wanted.discount.applied_to(account.discount)?;
            changes.push(MasterAccountChange::Discount(discount));
        }
        changes.extend(wanted.weight.map(MasterAccountChange::Weight));
        changes.extend(wanted.most_share.map(MasterAccountChange::MostShare));
        if wanted.agreement.is_some() || wanted.agreement_ends_at.is_some() {
            let old = &account.agreement;
            changes.push(MasterAccountChange::Agreement(Agreement {
                reference: wanted.agreement.unwrap_or_else(|| old.reference.clone()),
                ends_at: wanted.agreement_ends_at.unwrap_or(old.ends_at),
            }));
        }
        match wanted.management_key {
            None => {}
            Some(None) => changes.push(MasterAccountChange::ManagementKey(None)),
            Some(Some(_)) if account.kind == UpstreamKind::Compatible => {
                return Err(InventoryError::NoManagementKey);
            }
            Some(Some(key)) => {
                let sealed = self
                    .upstreams
                    .seal_management_key(account.id, checked(&key)?)?;
                changes.push(MasterAccountChange::ManagementKey(Some(sealed)));
            }
        }
        Ok(changes)
    }

    /// Pauses, drains or resumes an account.
    pub async fn set_status(
        &self,
        account: MasterAccountId,
        status: MasterAccountStatus,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let change = [MasterAccountChange::Status(status)];
        let store = self.store;
        store
            .change_master_account(account, &Seen::Whatever, &change, audit)
            .await
    }

    /// Adds a key.
    pub async fn add_key(
        &self,
        account: &MasterAccount,
        key: &SecretString,
        audit: &AuditEntry,
    ) -> Result<MasterAccountKey, InventoryError> {
        if account.keys.len() >= MOST_KEYS {
            return Err(InventoryError::TooManyKeys);
        }
        let id = Uuid::now_v7();
        let sealed = self
            .upstreams
            .seal_key(account.id, id, Some(checked(key)?))?;
        let key = MasterAccountKey { id, key: sealed };
        self.store
            .add_master_account_key(account.id, &key, audit)
            .await?;
        Ok(key)
    }

    /// Removes a key, unless an account that serves would have none.
    pub async fn remove_key(
        &self,
        account: &MasterAccount,
        key: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), InventoryError> {
        let removed = self.store.remove_master_account_key(account.id, key, audit);
        match removed.await {
            Err(StoreError::InUse { .. }) => Err(InventoryError::LastKey),
            removed => Ok(removed?),
        }
    }

    fn check_address(&self, base_url: &str) -> Result<(), InventoryError> {
        match self.upstreams.fault_of_address(base_url) {
            Some(fault) => Err(InventoryError::Address(fault)),
            None => Ok(()),
        }
    }
}

/// A key, if it is one.
fn checked(key: &SecretString) -> Result<&SecretString, InventoryError> {
    if names::is_key(key.expose_secret()) {
        Ok(key)
    } else {
        Err(InventoryError::NotAKey)
    }
}

/// A name that no other account has.
fn free(
    name: &str,
    known: &[MasterAccount],
    own: Option<MasterAccountId>,
) -> Result<String, InventoryError> {
    let name = names::name(name).ok_or(InventoryError::Name)?;
    let is_taken = |account: &MasterAccount| account.name == name && Some(account.id) != own;
    if known.iter().any(is_taken) {
        return Err(InventoryError::NameTaken(name));
    }
    Ok(name)
}

fn any_name(known: &[MasterAccount]) -> String {
    let taken: Vec<&str> = known.iter().map(|account| account.name.as_str()).collect();
    free_name(&taken)
}

/// The first of `openrouter-1`, `openrouter-2` … that is not taken.
pub fn free_name(taken: &[&str]) -> String {
    (1..)
        .map(|number| format!("openrouter-{number}"))
        .find(|name| !taken.contains(&name.as_str()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_up_and_skip_what_is_taken() {
        assert_eq!(free_name(&[]), "openrouter-1");
        assert_eq!(free_name(&["openrouter-1", "openrouter-3"]), "openrouter-2");
    }

    #[test]
    fn what_is_not_said_of_a_discount_stays() {
        let basis = DiscountBasis::InReportedCost;
        let old = Discount::from_percent(Decimal::from(60), basis).unwrap();
        let wish = DiscountWish {
            percent: Some(Decimal::from(65)),
            basis: None,
        };
        let new = wish.applied_to(old).unwrap();
        assert_eq!((new.fraction(), new.basis()), (Decimal::new(65, 2), basis));
        let wish = DiscountWish {
            percent: Some(Decimal::ONE_HUNDRED),
            basis: None,
        };
        assert!(matches!(
            wish.applied_to(old),
            Err(InventoryError::Discount)
        ));
    }
}
