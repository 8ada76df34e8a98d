//! The upstream and the operator's accounts there.

use std::time::Duration;

use airouter_api::names::is_key;
use airouter_billing::decimal::parse_decimal;
use airouter_billing::{Discount, DiscountBasis};
use rust_decimal::Decimal;
use secrecy::{ExposeSecret, SecretString};

use super::environment::Reader;
use super::web_address::plain_http_url;

const DEFAULT_BASE_URL: &str = "https://openrouter.ai/api/v1";
/// What operators of this kind of system get, in percent.
const DEFAULT_DISCOUNT_PERCENT: i64 = 70;
const DEFAULT_STREAM_HEADERS: Duration = Duration::from_secs(30);
const DEFAULT_CREDIT_EVERY: Duration = Duration::from_secs(60);
/// Upstreams need some time to sum a day up.
const DEFAULT_RECONCILE_AFTER: Duration = Duration::from_secs(3_600);
/// An hour of the next day is left to try again.
const MOST_RECONCILE_MINUTES: u64 = 1_380;

/// The upstream and the operator's accounts there.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Its address, without a slash at the end.
    pub(crate) base_url: String,
    /// Inference keys, each of another account.
    pub(crate) master_keys: Vec<SecretString>,
    /// Management keys, in the order of the accounts if there are as many.
    pub(crate) management_keys: Vec<SecretString>,
    /// The discount of these accounts; `None` when it was not said.
    pub(crate) discount: Option<Discount>,
    /// For requests that name no model.
    pub(crate) default_model: Option<String>,
    /// Proxy for an https upstream.
    pub(crate) https_proxy: Option<SecretString>,
    /// A stream whose headers take longer is asked for elsewhere.
    pub(crate) stream_headers: Duration,
    /// How often the credit of master accounts is asked for.
    pub(crate) credit_every: Duration,
    /// How long after its end a day is compared with what upstreams billed; `None` is never.
    pub(crate) reconcile_after: Option<Duration>,
}

impl Upstream {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            base_url: reader
                .parsed(
                    "OPENROUTER_BASE_URL",
                    "an http or https URL without user name and query, like https://openrouter.ai/api/v1",
                    plain_http_url,
                )
                .unwrap_or_else(|| DEFAULT_BASE_URL.to_owned()),
            master_keys: keys(reader, "OPENROUTER_MASTER_KEYS"),
            management_keys: keys(reader, "OPENROUTER_PROVISIONING_KEY"),
            discount: reader.parsed(
                "OPENROUTER_DISCOUNT_PERCENT",
                "a decimal number of at least 0 and less than 100 with at most four decimal places, like 70",
                discount,
            ),
            default_model: reader.parsed(
                "DEFAULT_MODEL",
                "the id of a model, like openai/gpt-4o-mini",
                |text| (text.len() <= 256 && !text.contains(char::is_whitespace)).then(|| text.to_owned()),
            ),
            https_proxy: https_proxy(reader),
            stream_headers: seconds(reader, "AIROUTER_FIRST_HEADERS_SECONDS")
                .unwrap_or(DEFAULT_STREAM_HEADERS),
            credit_every: seconds(reader, "AIROUTER_CREDIT_SECONDS")
                .unwrap_or(DEFAULT_CREDIT_EVERY),
            reconcile_after: reader
                .parsed(
                    "AIROUTER_RECONCILE_MINUTES",
                    "a number of minutes from 0 to 1380, or off",
                    reconcile_after,
                )
                .unwrap_or(Some(DEFAULT_RECONCILE_AFTER)),
        }
    }

    /// The discount of accounts for which none is stored.
    pub(crate) fn discount_or_default(&self) -> Option<Discount> {
        self.discount.or_else(|| {
            Discount::from_percent(
                Decimal::from(DEFAULT_DISCOUNT_PERCENT),
                DiscountBasis::CreditsBoughtBelowPar,
            )
            .ok()
        })
    }
}

fn reconcile_after(text: &str) -> Option<Option<Duration>> {
    if text == "off" {
        return Some(None);
    }
    let minutes: u64 = text.parse().ok()?;
    (minutes <= MOST_RECONCILE_MINUTES).then(|| Some(Duration::from_secs(minutes * 60)))
}

fn discount(text: &str) -> Option<Discount> {
    let percent = parse_decimal(text).ok()?;
    Discount::from_percent(percent, DiscountBasis::CreditsBoughtBelowPar).ok()
}

fn keys(reader: &mut Reader<'_>, name: &'static str) -> Vec<SecretString> {
    let Some(list) = reader.secret(name) else {
        return Vec::new();
    };
    let keys: Vec<&str> = list.expose_secret().split(',').map(str::trim).collect();
    for (index, key) in keys.iter().enumerate() {
        let position = index + 1;
        if !is_key(key) {
            reader.fault(
                name,
                format!("entry {position} is not a key; expected keys, separated by commas"),
            );
        } else if keys.iter().take(index).any(|earlier| earlier == key) {
            reader.fault(
                name,
                format!("entry {position} repeats an earlier one; expected each key once"),
            );
        }
    }
    keys.into_iter().map(SecretString::from).collect()
}

fn seconds(reader: &mut Reader<'_>, name: &'static str) -> Option<Duration> {
    reader.parsed(name, "a number of seconds from 1 to 600", |text| {
        text.parse()
            .ok()
            .filter(|seconds| (1..=600).contains(seconds))
            .map(Duration::from_secs)
    })
}

fn https_proxy(reader: &mut Reader<'_>) -> Option<SecretString> {
    let proxy = reader.secret("HTTPS_PROXY")?;
    let is_url = proxy.expose_secret().parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
    });
    if !is_url {
        reader.fault(
            "HTTPS_PROXY",
            "is not a proxy's URL; expected http://HOST:PORT, with USER:PASSWORD@ if needed",
        );
    }
    Some(proxy)
}
