//! Fields of a request that raise its cost in ways that tokens and their prices don't show.

use std::borrow::Cow;

use serde::Deserialize;

use super::fields::{Fields, RequestError};
use super::json::{self, Object, Text};

/// A field that may raise the cost (OpenRouter: Web Search, PDF Inputs, Service Tiers, Model Variants).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CostRaisingField {
    /// `plugins`: web search, file parsing, fusion and others that bill extra.
    Plugins,
    /// `tools` that the upstream runs itself and bills: any of a type other than `function`.
    ServerTools,
    /// `web_search_options`.
    WebSearchOptions,
    /// A `service_tier` with prices of its own.
    ServiceTier,
    /// `modalities` that ask for images or audio.
    OutputModalities,
    /// A model with the suffix `:online`. Whether a name has it is decided by who looks models up.
    OnlineSuffix,
}

/// Plugins that bill nothing (OpenRouter: Message Transforms, Response Healing).
const FREE_PLUGINS: &[&str] = &["context-compression", "response-healing"];

/// Tiers at the listed price or below it (OpenRouter: Service Tiers).
const ORDINARY_TIERS: &[&str] = &["auto", "default", "flex"];

#[derive(Deserialize)]
struct Plugin<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
}

/// The cost-raising fields among those of a request.
pub(crate) fn cost_raising_fields(
    fields: &Fields<'_, '_>,
) -> Result<Vec<CostRaisingField>, RequestError> {
    let plugin_bills = |Object(plugin): &Object<Plugin<'_>>| {
        plugin
            .id
            .as_ref()
            .is_none_or(|id| !FREE_PLUGINS.contains(&&*id.0))
    };
    let tool_is_the_upstreams = |Object(tool): &Object<Tool<'_>>| {
        tool.kind.as_ref().is_some_and(|kind| kind.0 != "function")
    };
    let modality_is_no_text = |modality: &Text<'_>| modality.0 != "text";
    let tier = fields.string("service_tier")?;
    let tier_is_special = |tier: Cow<'_, str>| !ORDINARY_TIERS.contains(&&*tier);

    let found = [
        (
            CostRaisingField::Plugins,
            any(
                fields,
                "plugins",
                "an array of objects with an `id`",
                plugin_bills,
            )?,
        ),
        (
            CostRaisingField::ServerTools,
            any(
                fields,
                "tools",
                "an array of objects with a `type`",
                tool_is_the_upstreams,
            )?,
        ),
        (
            CostRaisingField::WebSearchOptions,
            fields.value("web_search_options")?.is_some(),
        ),
        (
            CostRaisingField::ServiceTier,
            tier.is_some_and(tier_is_special),
        ),
        (
            CostRaisingField::OutputModalities,
            any(
                fields,
                "modalities",
                "an array of strings",
                modality_is_no_text,
            )?,
        ),
    ];
    Ok(found
        .into_iter()
        .filter_map(|(field, raises)| raises.then_some(field))
        .collect())
}

/// Whether any element of an array field is as `test` asks.
fn any<'a, T: Deserialize<'a>>(
    fields: &Fields<'_, 'a>,
    name: &'static str,
    expected: &'static str,
    test: impl Fn(&T) -> bool,
) -> Result<bool, RequestError> {
    let Some(array) = fields.value(name)? else {
        return Ok(false);
    };
    let mut found = false;
    json::each_element(array, |element: T| found |= test(&element))
        .map_err(|_| fields.invalid(name, expected))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Result<Vec<CostRaisingField>, RequestError> {
        let members = json::members(body).unwrap();
        cost_raising_fields(&Fields::new(&members, ""))
    }

    #[test]
    fn what_raises_the_cost_is_found() {
        use CostRaisingField::{
            OutputModalities, Plugins, ServerTools, ServiceTier, WebSearchOptions,
        };
        for (body, expected) in [
            (r#"{"plugins":[{"id":"web"}]}"#, vec![Plugins]),
            (
                r#"{"plugins":[{"id":"response-healing"},{"id":"new"}]}"#,
                vec![Plugins],
            ),
            (r#"{"plugins":[{}]}"#, vec![Plugins]),
            (r#"{"plugins":[{"id":"context-compression"}]}"#, vec![]),
            (r#"{"plugins":[]}"#, vec![]),
            (
                r#"{"tools":[{"type":"function","function":{}},{"type":"openrouter:web_search"}]}"#,
                vec![ServerTools],
            ),
            (
                r#"{"tools":[{"type":"functio\u006e"}],"plugins":null}"#,
                vec![],
            ),
            (r#"{"web_search_options":{}}"#, vec![WebSearchOptions]),
            (r#"{"service_tier":"priority"}"#, vec![ServiceTier]),
            (r#"{"service_tier":"flex","modalities":["text"]}"#, vec![]),
            (r#"{"modalities":["text","image"]}"#, vec![OutputModalities]),
        ] {
            assert_eq!(found(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for (body, param) in [
            (r#"{"plugins":{}}"#, "plugins"),
            (r#"{"plugins":["web"]}"#, "plugins"),
            (r#"{"plugins":[["web"]]}"#, "plugins"),
            (r#"{"tools":[{"type":1}]}"#, "tools"),
            (
                r#"{"tools":[{"type":"function","type":"web_search"}]}"#,
                "tools",
            ),
            (r#"{"service_tier":1}"#, "service_tier"),
            (r#"{"modalities":"image"}"#, "modalities"),
        ] {
            assert_eq!(found(body).unwrap_err().param(), Some(param), "{body}");
        }
    }
}
