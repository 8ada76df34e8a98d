//! What can be set of a key, as clients write it.

use std::sync::Arc;

use airouter_auth::{AddressAccess, MOST_NETWORKS, network};
use airouter_billing::access::is_pattern;
use airouter_billing::{ModelAccess, Nanos, Period, Timestamp};
use airouter_store::key_admin::{self, KeySettings};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names;
use crate::problem::Problem;
use crate::values::{Time, Usd};

/// Most models of a key's list.
const MOST_MODELS: usize = 256;

/// How often a spend limit starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reset {
    /// Never.
    None,
    /// At 00:00 UTC.
    Daily,
    /// On Monday at 00:00 UTC.
    Weekly,
    /// On the 1st at 00:00 UTC.
    Monthly,
}

impl From<Reset> for Period {
    fn from(reset: Reset) -> Self {
        match reset {
            Reset::None => Self::None,
            Reset::Daily => Self::Day,
            Reset::Weekly => Self::Week,
            Reset::Monthly => Self::Month,
        }
    }
}

impl From<Period> for Reset {
    fn from(period: Period) -> Self {
        match period {
            Period::None => Self::None,
            Period::Day => Self::Daily,
            Period::Week => Self::Weekly,
            Period::Month => Self::Monthly,
        }
    }
}

/// What a key may spend. All that it spends in a period counts, also what it did before the limit was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpendLimit {
    /// How much.
    pub(crate) amount: Usd,
    /// How often it starts anew.
    pub(crate) reset: Reset,
}

/// What is set of a key, as the audit log keeps it and as its tag covers it.
#[derive(Serialize)]
struct Settings<'a> {
    name: &'a str,
    spend_limit: Option<SpendLimit>,
    requests_per_day: Option<u32>,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u64>,
    concurrent_requests: Option<u32>,
    allowed_models: &'a ModelAccess,
    allowed_addresses: Option<Vec<String>>,
    expires_at: Option<Time>,
}

/// The settings of a key as JSON.
pub(crate) fn json(settings: &KeySettings) -> Result<String, Problem> {
    let limits = settings.limits;
    let shown = Settings {
        name: &settings.name,
        spend_limit: settings.spend_limit.map(|limit| SpendLimit {
            amount: Usd(limit.amount),
            reset: limit.period.into(),
        }),
        requests_per_day: settings.requests_per_day,
        requests_per_minute: limits.requests_per_minute.map(Into::into),
        tokens_per_minute: limits.tokens_per_minute.map(Into::into),
        concurrent_requests: limits.concurrent_requests.map(Into::into),
        allowed_models: &settings.models,
        allowed_addresses: settings.addresses.texts(),
        expires_at: settings.expires_at.map(Time),
    };
    serde_json::to_string(&shown).map_err(|_| Problem::Internal)
}

/// A key's name.
pub(super) fn name(text: &str) -> Result<String, Problem> {
    names::name(text).ok_or(Problem::Invalid {
        field: "name",
        expected: "one line of at most 200 bytes",
    })
}

/// A spend limit.
pub(super) fn spend_limit(limit: SpendLimit) -> Result<key_admin::SpendLimit, Problem> {
    let Usd(amount) = limit.amount;
    if !(Nanos::ZERO..=Usd::MOST).contains(&amount) {
        return Err(Problem::Invalid {
            field: "spend_limit",
            expected: "an amount from 0 to 1000000000",
        });
    }
    Ok(key_admin::SpendLimit {
        amount,
        period: limit.reset.into(),
    })
}

/// The models that a key may use.
pub(super) fn models(patterns: Vec<String>) -> Result<ModelAccess, Problem> {
    let is_list = (1..=MOST_MODELS).contains(&patterns.len());
    if is_list && patterns.iter().all(|pattern| is_pattern(pattern)) {
        return Ok(ModelAccess::Only(patterns));
    }
    Err(Problem::Invalid {
        field: "allowed_models",
        expected: "from 1 to 256 names of models, or their beginnings with a '*'; or null",
    })
}

/// The addresses from which a key may be used.
pub(super) fn addresses(texts: &[String]) -> Result<AddressAccess, Problem> {
    const WRONG: Problem = Problem::Invalid {
        field: "allowed_addresses",
        expected: "from 1 to 64 addresses or networks such as 192.0.2.0/24; or null",
    };
    if !(1..=MOST_NETWORKS).contains(&texts.len()) {
        return Err(WRONG);
    }
    let networks: Result<Arc<[_]>, _> = texts.iter().map(|text| network(text)).collect();
    networks.map(AddressAccess::Only).map_err(|_| WRONG)
}

/// When a key is to expire.
pub(super) fn expiry(Time(at): Time, now: Timestamp) -> Result<Timestamp, Problem> {
    if at <= now || at.to_utc().is_none() {
        return Err(Problem::Invalid {
            field: "expires_at",
            expected: "a time to come; revoke a key that is to end now",
        });
    }
    Ok(at)
}

/// Tokens a minute.
pub(super) fn tokens(limit: std::num::NonZeroU64) -> Result<std::num::NonZeroU64, Problem> {
    if i64::try_from(limit.get()).is_err() {
        return Err(Problem::Invalid {
            field: "tokens_per_minute",
            expected: "less than 2^63",
        });
    }
    Ok(limit)
}
