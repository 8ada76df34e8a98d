//! The upstream and the operator's accounts there.

use airouter_billing::decimal::parse_decimal;
use airouter_billing::{Discount, DiscountBasis};
use rust_decimal::Decimal;
use secrecy::{ExposeSecret, SecretString};

use super::environment::Reader;
use super::web_address::plain_http_url;

const DEFAULT_BASE_URL: &str = "https://openrouter.ai/api/v1";
/// What operators of this kind of system get, in percent.
const DEFAULT_DISCOUNT_PERCENT: i64 = 70;
/// Longer texts are no keys.
const LONGEST_KEY: usize = 512;

/// The upstream and the operator's accounts there.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Its address, without a slash at the end.
    pub(crate) base_url: String,
    /// Inference keys, each of another account.
    pub(crate) master_keys: Vec<SecretString>,
    /// The discount of these accounts; `None` when it was not said.
    pub(crate) discount: Option<Discount>,
    /// For requests that name no model.
    pub(crate) default_model: Option<String>,
    /// Proxy for an https upstream.
    pub(crate) https_proxy: Option<SecretString>,
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
            master_keys: master_keys(reader),
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

fn discount(text: &str) -> Option<Discount> {
    let percent = parse_decimal(text).ok()?;
    Discount::from_percent(percent, DiscountBasis::CreditsBoughtBelowPar).ok()
}

fn master_keys(reader: &mut Reader<'_>) -> Vec<SecretString> {
    let Some(list) = reader.secret("OPENROUTER_MASTER_KEYS") else {
        return Vec::new();
    };
    let keys: Vec<&str> = list.expose_secret().split(',').map(str::trim).collect();
    for (index, key) in keys.iter().enumerate() {
        let position = index + 1;
        let is_key = !key.is_empty()
            && key.len() <= LONGEST_KEY
            && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_key {
            reader.fault(
                "OPENROUTER_MASTER_KEYS",
                format!("entry {position} is not a key; expected keys, separated by commas"),
            );
        } else if keys.iter().take(index).any(|earlier| earlier == key) {
            reader.fault(
                "OPENROUTER_MASTER_KEYS",
                format!("entry {position} repeats an earlier one; expected each key once"),
            );
        }
    }
    keys.into_iter().map(SecretString::from).collect()
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
