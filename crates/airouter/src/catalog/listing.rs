//! From the upstream's model objects to what can be sold.

use std::collections::{BTreeMap, HashSet};

use airouter_billing::price_book::{OutputLimit, PriceKey, Pricing, RawOverride, RawPricing};
use airouter_openrouter::{Model, ModelList, NumberText, PriceValue};
use airouter_store::prices::ListedModel;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

/// Longer ids are no models.
const LONGEST_ID: usize = 256;

/// A model that can't be sold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Its id, if that could be read.
    pub(crate) id: String,
    /// Why, for the operator.
    pub(crate) reason: String,
}

/// The models that can be sold, and those that can't. Of two with one id the first counts.
pub(crate) fn listed(list: ModelList) -> (Vec<ListedModel>, Vec<LeftOut>) {
    let mut left_out: Vec<LeftOut> = list
        .broken
        .into_iter()
        .map(|broken| LeftOut {
            id: broken.id.unwrap_or_default(),
            reason: broken.reason,
        })
        .collect();
    let mut models = Vec::with_capacity(list.models.len());
    let mut ids = HashSet::new();
    for model in list.models {
        let id = model.id.clone();
        let sellable = if id.len() > LONGEST_ID || id.contains(char::is_control) {
            Err("the id is too long or has control characters".to_owned())
        } else if ids.insert(id.clone()) {
            sellable(model)
        } else {
            Err("the id is listed twice".to_owned())
        };
        match sellable {
            Ok(model) => models.push(model),
            Err(reason) => left_out.push(LeftOut { id, reason }),
        }
    }
    (models, left_out)
}

fn sellable(model: Model) -> Result<ListedModel, String> {
    let pricing = RawPricing {
        prices: known_prices(&model.prices)?,
        overrides: overrides(model.price_overrides.as_deref())?,
    };
    Pricing::from_raw(&pricing).map_err(|error| error.to_string())?;
    let can_be_limited = model
        .supported_parameters
        .iter()
        .any(|name| name == "max_tokens" || name == "max_completion_tokens");
    Ok(ListedModel {
        id: model.id,
        pricing,
        // What the preferred provider bears may be less than what the model does in principle; others may bear more.
        context_length: model.context_length.max(model.top_provider.context_length),
        max_completion_tokens: model.top_provider.max_completion_tokens,
        output_limit: if can_be_limited {
            OutputLimit::Supported
        } else {
            OutputLimit::Unsupported
        },
        listing: model.raw.get().to_owned(),
        served_as: None,
    })
}

/// The prices that mean something to us, as text. One that can't be read makes the model unsellable.
fn known_prices(prices: &BTreeMap<String, PriceValue>) -> Result<Vec<(String, String)>, String> {
    prices
        .iter()
        .filter(|(name, _)| PriceKey::from_name(name).is_some())
        .map(|(name, price)| match price {
            PriceValue::Number(number) => Ok((name.clone(), number.as_str().to_owned())),
            PriceValue::Unreadable(_) => Err(format!("{name} can't be read")),
        })
        .collect()
}

/// Conditional prices, in their order (OpenRouter's OpenAPI document, `PublicPricing.overrides`). What isn't understood
/// makes the model unsellable: a hold could be too small.
fn overrides(raw: Option<&RawValue>) -> Result<Vec<RawOverride>, String> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    let conditionals: Vec<BTreeMap<String, &RawValue>> = serde_json::from_str(raw.get())
        .map_err(|_| "overrides is not a list of objects".to_owned())?;
    conditionals.iter().map(conditional).collect()
}

fn conditional(members: &BTreeMap<String, &RawValue>) -> Result<RawOverride, String> {
    if member::<IgnoredAny>(members, "utc_days")?.is_some() {
        return Err("an override holds on certain days only, which is not supported".to_owned());
    }
    let mut prices = Vec::new();
    for name in members.keys() {
        if PriceKey::from_name(name).is_some()
            && let Some(price) = member::<NumberText>(members, name)?
        {
            prices.push((name.clone(), price.as_str().to_owned()));
        }
    }
    Ok(RawOverride {
        min_prompt_tokens: member(members, "min_prompt_tokens")?,
        utc_start: member(members, "utc_start")?.map(TimeOfDay::text),
        utc_end: member(members, "utc_end")?.map(TimeOfDay::text),
        prices,
    })
}

/// A member of an override; `None` where it is missing or null.
fn member<T: DeserializeOwned>(
    members: &BTreeMap<String, &RawValue>,
    name: &str,
) -> Result<Option<T>, String> {
    let text = members.get(name).map_or("null", |raw| raw.get());
    serde_json::from_str(text).map_err(|_| format!("{name} of an override can't be read"))
}

/// `HHMM`, written as a text or as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum TimeOfDay {
    Text(String),
    Number(u16),
}

impl TimeOfDay {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => format!("{number:04}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airouter_openrouter::parse_models;

    fn of(models: &str) -> (Vec<ListedModel>, Vec<LeftOut>) {
        listed(parse_models(format!(r#"{{"data":[{models}]}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn a_model_keeps_its_prices_as_they_are_written() {
        let (models, left_out) = of(r#"{"id":"a/b","context_length":1000,
            "top_provider":{"context_length":2000,"max_completion_tokens":500},
            "supported_parameters":["tools","max_tokens"],
            "pricing":{"prompt":"0.00000010","completion":4e-07,"discount":0.5,"odd":{},"overrides":[
                {"min_prompt_tokens":200000,"prompt":"3e-7","utc_start":"0030","utc_end":1630,"completion":null}]}}"#);
        assert_eq!(left_out, []);
        let model = &models[0];
        assert_eq!(
            model.pricing.prices,
            [
                ("completion".to_owned(), "4e-07".to_owned()),
                ("prompt".to_owned(), "0.00000010".to_owned())
            ]
        );
        let conditional = &model.pricing.overrides[0];
        assert_eq!(conditional.min_prompt_tokens, Some(200_000));
        assert_eq!(conditional.utc_start.as_deref(), Some("0030"));
        assert_eq!(conditional.utc_end.as_deref(), Some("1630"));
        assert_eq!(
            conditional.prices,
            [("prompt".to_owned(), "3e-7".to_owned())]
        );
        assert_eq!(model.output_limit, OutputLimit::Supported);
        assert_eq!(
            (model.context_length, model.max_completion_tokens),
            (Some(2000), Some(500))
        );
    }

    #[test]
    fn a_router_is_sold_without_a_limit_if_it_has_none() {
        let (models, _) =
            of(r#"{"id":"openrouter/auto","pricing":{"prompt":"-1","completion":"-1"}}"#);
        assert_eq!(models[0].output_limit, OutputLimit::Unsupported);
    }

    #[test]
    fn what_cannot_be_priced_is_left_out_and_hides_nothing() {
        let (models, left_out) = of(r#"
            {"id":"no/completion","pricing":{"prompt":"0"}},
            {"id":"a/negative","pricing":{"prompt":"-0.5","completion":"0"}},
            {"id":"a/word","pricing":{"prompt":"free","completion":"0"}},
            {"id":"on/sundays","pricing":{"prompt":"1","completion":"1","overrides":[{"utc_days":[0],"prompt":"2"}]}},
            {"id":"odd/overrides","pricing":{"prompt":"1","completion":"1","overrides":{}}},
            {"id":"good/one","pricing":{"prompt":"0","completion":"0"}},
            {"id":"good/one","pricing":{"prompt":"1","completion":"1"}},
            {"pricing":{}}"#);
        assert_eq!(models.len(), 1);
        assert_eq!(models[0].pricing.prices[0].1, "0");
        let mut ids: Vec<_> = left_out.iter().map(|model| model.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(
            ids,
            [
                "",
                "a/negative",
                "a/word",
                "good/one",
                "no/completion",
                "odd/overrides",
                "on/sundays"
            ]
        );
    }
}
