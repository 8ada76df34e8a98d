//! `GET /models`: what the upstream sells, and at which list prices.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ControlError;
use crate::json;
use crate::number::NumberText;

/// The models of an upstream. One that can't be read doesn't hide the others.
#[derive(Debug, Default)]
pub struct ModelList {
    /// Those that could be read, in the upstream's order. An upstream may well have none.
    pub models: Vec<Model>,
    /// Those that couldn't.
    pub broken: Vec<BrokenModel>,
}

/// A model that couldn't be read, and can't be sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenModel {
    /// Its id, if at least that could be read.
    pub id: Option<String>,
    /// What is wrong with it, for the operator.
    pub reason: String,
}

/// A model, as far as it needs to be understood. Source: OpenRouter's OpenAPI document, `Model`.
#[derive(Debug, Clone)]
pub struct Model {
    /// The whole element as the upstream wrote it.
    pub raw: Box<RawValue>,
    /// The id that clients ask for, like `openai/gpt-4o` or `meta-llama/llama-3-8b:free`.
    pub id: String,
    /// A dated id that never changes its meaning.
    pub canonical_slug: Option<String>,
    /// The name to show.
    pub name: Option<String>,
    /// Seconds since 1970.
    pub created: Option<u64>,
    /// Tokens of prompt and answer together.
    pub context_length: Option<u64>,
    /// Limits at the provider that the upstream prefers.
    pub top_provider: TopProvider,
    /// Request fields that have an effect, like `max_tokens` or `tools`.
    pub supported_parameters: Vec<String>,
    /// What goes in and comes out.
    pub architecture: Architecture,
    /// Price by key (`prompt`, `completion`, `request`, …) in USD per unit, without `overrides`. An absent or null key
    /// is not priced, "0" is free, "-1" is a price that isn't known beforehand.
    pub prices: BTreeMap<String, PriceValue>,
    /// The JSON array of conditional prices.
    pub price_overrides: Option<Box<RawValue>>,
}

/// One value of a model's `pricing`.
#[derive(Debug, Clone)]
pub enum PriceValue {
    /// A number, or a number in quotes.
    Number(NumberText),
    /// Anything else. Whoever needs this price can't sell the model.
    Unreadable(Box<RawValue>),
}

/// What the preferred provider of a model bears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct TopProvider {
    /// Tokens of prompt and answer together.
    #[serde(default)]
    pub context_length: Option<u64>,
    /// Tokens of the answer.
    #[serde(default)]
    pub max_completion_tokens: Option<u64>,
}

/// What goes into a model and comes out, in the upstream's words (`text`, `image`, `audio`, …).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Architecture {
    /// What goes in.
    #[serde(default, deserialize_with = "json::or_default")]
    pub input_modalities: Vec<String>,
    /// What comes out.
    #[serde(default, deserialize_with = "json::or_default")]
    pub output_modalities: Vec<String>,
}

/// Strict where a misreading would cost money, lenient elsewhere.
#[derive(Deserialize)]
struct Fields {
    id: String,
    #[serde(default, deserialize_with = "json::or_default")]
    canonical_slug: Option<String>,
    #[serde(default, deserialize_with = "json::or_default")]
    name: Option<String>,
    #[serde(default, deserialize_with = "json::or_default")]
    created: Option<u64>,
    #[serde(default)]
    context_length: Option<u64>,
    #[serde(default, deserialize_with = "json::null_as_default")]
    top_provider: TopProvider,
    #[serde(default, deserialize_with = "json::or_default")]
    supported_parameters: Vec<String>,
    #[serde(default, deserialize_with = "json::or_default")]
    architecture: Architecture,
    pricing: BTreeMap<String, Box<RawValue>>,
}

/// Reads the body of `GET /models`.
pub fn parse_models(body: &[u8]) -> Result<ModelList, ControlError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    let envelope: Envelope<'_> = json::from_object(body).map_err(|_| ControlError::Malformed {
        what: "an object whose `data` is a list of models",
    })?;
    let mut list = ModelList::default();
    for raw in envelope.data {
        match parse_model(raw) {
            Ok(model) => list.models.push(model),
            Err(reason) => list.broken.push(BrokenModel {
                id: id_of(raw),
                reason,
            }),
        }
    }
    Ok(list)
}

fn parse_model(raw: &RawValue) -> Result<Model, String> {
    let fields: Fields =
        json::from_object(raw.get().as_bytes()).map_err(|error| error.to_string())?;
    if fields.id.is_empty() {
        return Err("the id is empty".to_owned());
    }
    let mut pricing = fields.pricing;
    let price_overrides = pricing
        .remove("overrides")
        .filter(|overrides| overrides.get() != "null");
    let prices = pricing
        .into_iter()
        .filter(|(_, price)| price.get() != "null");
    Ok(Model {
        raw: raw.to_owned(),
        id: fields.id,
        canonical_slug: fields.canonical_slug,
        name: fields.name,
        created: fields.created,
        context_length: fields.context_length,
        top_provider: fields.top_provider,
        supported_parameters: fields.supported_parameters,
        architecture: fields.architecture,
        prices: prices
            .map(|(key, price)| (key, price_value(price)))
            .collect(),
        price_overrides,
    })
}

fn price_value(price: Box<RawValue>) -> PriceValue {
    match serde_json::from_str(price.get()) {
        Ok(number) => PriceValue::Number(number),
        Err(_) => PriceValue::Unreadable(price),
    }
}

fn id_of(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    json::from_object(raw.get().as_bytes())
        .ok()
        .map(|Id { id }| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = r#"{"id":"a/b","canonical_slug":"a/b-2026","name":"B","created":1760000000,"context_length":131072,
        "architecture":{"modality":"text->text","input_modalities":["text","image"],"output_modalities":["text"]},
        "pricing":{"prompt":"0.00000015","completion":6e-07,"request":"0","image":null,"web_search":{"a":1},
                   "discount":0.25,"overrides":[{"min_prompt_tokens":200000,"prompt":"0.0000003"}]},
        "top_provider":{"context_length":128000,"max_completion_tokens":16384,"is_moderated":true},
        "supported_parameters":["max_tokens","tools"],"a_later_field":{"x":[1.50]}}"#;

    fn list(elements: &str) -> ModelList {
        parse_models(
            format!(r#"  {{"total_count":1,"data":[{elements}],"links":{{"next":null}}}}"#)
                .as_bytes(),
        )
        .unwrap()
    }

    #[test]
    fn a_model_is_read_and_its_text_kept() {
        let mut list = list(MODEL);
        assert_eq!(list.broken, []);
        let model = list.models.remove(0);
        assert_eq!(model.raw.get(), MODEL);
        assert_eq!(
            (model.id.as_str(), model.canonical_slug.as_deref()),
            ("a/b", Some("a/b-2026"))
        );
        assert_eq!(
            (model.name.as_deref(), model.created, model.context_length),
            (Some("B"), Some(1_760_000_000), Some(131_072))
        );
        let top_provider = TopProvider {
            context_length: Some(128_000),
            max_completion_tokens: Some(16_384),
        };
        assert_eq!(model.top_provider, top_provider);
        assert_eq!(model.supported_parameters, ["max_tokens", "tools"]);
        assert_eq!(model.architecture.input_modalities, ["text", "image"]);
        let number = |key: &str| match model.prices.get(key) {
            Some(PriceValue::Number(number)) => Some(number.as_str().to_owned()),
            _ => None,
        };
        assert_eq!(number("prompt").as_deref(), Some("0.00000015"));
        assert_eq!(number("completion").as_deref(), Some("6e-07"));
        assert_eq!(number("discount").as_deref(), Some("0.25"));
        assert!(!model.prices.contains_key("image") && !model.prices.contains_key("overrides"));
        assert!(matches!(
            model.prices.get("web_search"),
            Some(PriceValue::Unreadable(_))
        ));
        assert_eq!(
            model.price_overrides.unwrap().get(),
            r#"[{"min_prompt_tokens":200000,"prompt":"0.0000003"}]"#
        );
    }

    #[test]
    fn broken_models_are_named_and_hide_no_others() {
        let list = list(&format!(
            r#"{{"id":"no/prices"}},7,{MODEL},{{"id":"odd/context","context_length":"big","pricing":{{}}}},{{"id":"","pricing":{{}}}}"#
        ));
        assert_eq!(list.models.len(), 1);
        let ids: Vec<_> = list
            .broken
            .iter()
            .map(|broken| broken.id.as_deref())
            .collect();
        assert_eq!(
            ids,
            [Some("no/prices"), None, Some("odd/context"), Some("")]
        );
        assert!(
            list.broken[0].reason.contains("pricing"),
            "{}",
            list.broken[0].reason
        );
    }

    #[test]
    fn odd_values_that_decide_nothing_are_as_good_as_missing() {
        let list = list(
            r#"{"id":"a/b","pricing":{},"name":7,"created":"yesterday","architecture":null,"top_provider":null,
                "supported_parameters":{"all":true}}"#,
        );
        assert_eq!(list.broken, []);
        let model = &list.models[0];
        assert_eq!((&model.name, model.created), (&None, None));
        assert_eq!(model.top_provider, TopProvider::default());
        assert!(model.supported_parameters.is_empty());
    }

    #[test]
    fn what_is_no_list_of_models_is_refused() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"data":{}}"#,
            r#"{"data":[{"id":"a"}"#,
            "<html>",
            "\u{ff}",
        ] {
            assert!(
                matches!(
                    parse_models(body.as_bytes()),
                    Err(ControlError::Malformed { .. })
                ),
                "{body}"
            );
        }
        assert!(parse_models(&[b'['; 1_000_000]).is_err());
        let deep = format!(r#"{{"data":[{}]}}"#, "[".repeat(1_000_000));
        assert!(parse_models(deep.as_bytes()).is_err());
    }
}
