//! `/v1/admin/master-accounts`: the operator's accounts at upstreams.

pub(crate) mod add_key;
pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod drain;
mod health;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod pause;
pub(crate) mod price_table;
pub(crate) mod remove_key;
pub(crate) mod resume;
pub(crate) mod set_price_table;
mod status;
pub(crate) mod test;

use airouter_billing::{DiscountBasis, Timestamp};
use airouter_store::master_accounts::{
    CreditReading, MasterAccount as Stored, MostShare, SealedKey, UpstreamKind,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::inventory::master_accounts::MasterDesk;
use crate::shared::Shared;
use crate::values::{Id, Time, Usd};
use health::Health;

/// A master account. Its keys are never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MasterAccount {
    /// Its id.
    id: Id,
    /// Its name, also in metrics.
    #[schema(example = "openrouter-1")]
    name: String,
    /// `active`, `draining` (no new request unless nothing else is left) or `paused`.
    #[schema(example = "active")]
    status: &'static str,
    /// `openrouter`, or `compatible`: a server that speaks OpenAI's chat completions, with a price table of its own.
    #[schema(example = "openrouter")]
    kind: &'static str,
    /// The upstream's address.
    #[schema(example = "https://openrouter.ai/api/v1")]
    base_url: String,
    /// Its inference keys, in the order in which they were added.
    keys: Vec<Key>,
    /// Enough of the management key's SHA-256 to tell it from another one; null without one.
    management_key: Option<String>,
    /// The discount in percent.
    #[schema(example = "70")]
    discount_percent: String,
    /// Where the discount shows.
    #[schema(value_type = BasisName)]
    discount_basis: &'static str,
    /// Its part of the load among accounts that cost the same.
    #[schema(minimum = 1, maximum = 1000)]
    weight: u16,
    /// No more than so much of the traffic while others serve.
    #[schema(minimum = 1, maximum = 99)]
    most_share_percent: Option<u8>,
    /// What the operator may resell on.
    agreement: Option<String>,
    /// When that ends.
    agreement_ends_at: Option<Time>,
    /// Whether it has ended.
    agreement_has_ended: bool,
    /// Whether one of its keys is in the server's environment, whose address and discount then hold.
    is_in_environment: bool,
    /// What the upstream last said of its credit; null where it says nothing.
    credit: Option<Credit>,
    /// How it is at the replica that answers; null where no request of that one knows it yet.
    health: Option<Health>,
}

/// A key of a master account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Key {
    /// Its id.
    id: Id,
    /// Enough of its SHA-256 to tell it from another one.
    #[schema(example = "0a1b2c3d4e5f")]
    fingerprint: String,
    /// Enough of it to recognize it; null where it can't be opened.
    #[schema(example = "sk-or-v1-…a1b")]
    preview: Option<String>,
}

/// What an upstream said of an account's credit, in its own dollars.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Credit {
    /// What was ever bought.
    bought: Usd,
    /// What was ever used.
    used: Usd,
    /// What is left.
    left: Usd,
    /// What is used in a day at the present pace, once that is known.
    used_a_day: Option<Usd>,
    /// Whole days that it lasts at the present pace.
    days_left: Option<i64>,
    /// When it was said.
    seen_at: Time,
}

impl From<CreditReading> for Credit {
    fn from(reading: CreditReading) -> Self {
        Self {
            bought: Usd(reading.bought),
            used: Usd(reading.used),
            left: Usd(reading.left()),
            used_a_day: reading.pace.map(Usd),
            days_left: reading.days_left(),
            seen_at: Time(reading.seen_at),
        }
    }
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KindName {
    /// OpenRouter's API.
    #[default]
    Openrouter,
    /// OpenAI's chat completions.
    Compatible,
}

impl From<KindName> for UpstreamKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Openrouter => Self::OpenRouter,
            KindName::Compatible => Self::Compatible,
        }
    }
}

/// Where a discount shows.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BasisName {
    /// The credits were bought below par.
    CreditsBoughtBelowPar,
    /// It is in what the upstream reports already.
    InReportedCost,
}

impl From<BasisName> for DiscountBasis {
    fn from(name: BasisName) -> Self {
        match name {
            BasisName::CreditsBoughtBelowPar => Self::CreditsBoughtBelowPar,
            BasisName::InReportedCost => Self::InReportedCost,
        }
    }
}

/// An account as it is shown.
fn shown(shared: &Shared, account: Stored, now: Timestamp) -> MasterAccount {
    let upstreams = &*shared.upstreams;
    let percent = account.discount.fraction() * Decimal::ONE_HUNDRED;
    let management = account.management_key.as_ref();
    let keys = account.keys.iter().map(|key| Key {
        id: Id(key.id),
        fingerprint: key.key.short_fingerprint().to_owned(),
        preview: upstreams.preview(&account, key),
    });
    MasterAccount {
        id: Id(account.id.get()),
        status: account.status.name(),
        kind: account.kind.name(),
        keys: keys.collect(),
        management_key: management.map(|key| SealedKey::short_fingerprint(key).to_owned()),
        discount_percent: percent.normalize().to_string(),
        discount_basis: account.discount.basis().name(),
        weight: account.weight.get(),
        most_share_percent: account.most_share.map(MostShare::get),
        agreement_ends_at: account.agreement.ends_at.map(Time),
        agreement_has_ended: account.agreement.ends_at.is_some_and(|ends| ends <= now),
        is_in_environment: upstreams.is_in_environment(&account),
        credit: account.credit.map(Credit::from),
        health: upstreams.health(account.id).map(Health::from),
        agreement: account.agreement.reference,
        name: account.name,
        base_url: account.base_url,
    }
}

/// Where they are changed.
fn desk(shared: &Shared) -> MasterDesk<'_> {
    MasterDesk {
        store: &*shared.store,
        upstreams: &*shared.upstreams,
    }
}
