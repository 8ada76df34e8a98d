//! Fields of a request that raise its cost in ways that tokens and their prices don't show.

pub use airouter_billing::cost_raising::CostRaisingUse;

use std::borrow::Cow;
use std::collections::HashSet;

use airouter_billing::cost_raising::CostRaisingKind;
use serde::Deserialize;

use super::fields::{Fields, RequestError};
use super::json::{self, Object, Text};

/// The longest name that is looked up in a plan, in characters.
const LONGEST_ID: usize = 256;
/// Different uses of one request.
const MOST_USES: usize = 256;

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

/// What among the fields of a request raises its cost, each different one once.
pub(crate) fn cost_raising_uses(
    fields: &Fields<'_, '_>,
) -> Result<Vec<CostRaisingUse>, RequestError> {
    let mut uses = Vec::new();
    let mut seen = HashSet::new();
    let mut note = |kind, id: &str| {
        if uses.len() > MOST_USES {
            return;
        }
        // A name that no plan can hold need not be kept whole.
        let id: String = id.chars().take(LONGEST_ID + 1).collect();
        let used = CostRaisingUse::new(kind, id);
        if seen.insert(used.clone()) {
            uses.push(used);
        }
    };
    let expected = "an array of objects with an `id`";
    each(
        fields,
        "plugins",
        expected,
        |Object(plugin): Object<Plugin<'_>>| {
            let id = plugin.id.as_ref().map_or("", |id| &*id.0);
            if !FREE_PLUGINS.contains(&id) {
                note(CostRaisingKind::Plugins, id);
            }
        },
    )?;
    let expected = "an array of objects with a `type`";
    each(
        fields,
        "tools",
        expected,
        |Object(tool): Object<Tool<'_>>| {
            if let Some(kind) = tool.kind.filter(|kind| kind.0 != "function") {
                note(CostRaisingKind::ServerTools, &kind.0);
            }
        },
    )?;
    if fields.value("web_search_options")?.is_some() {
        note(CostRaisingKind::WebSearchOptions, "");
    }
    if let Some(tier) = fields.string("service_tier")?
        && !ORDINARY_TIERS.contains(&&*tier)
    {
        note(CostRaisingKind::ServiceTiers, &tier);
    }
    each(
        fields,
        "modalities",
        "an array of strings",
        |modality: Text<'_>| {
            if modality.0 != "text" {
                note(CostRaisingKind::OutputModalities, &modality.0);
            }
        },
    )?;
    for provider in optioned_providers(fields)? {
        note(CostRaisingKind::ProviderOptions, &provider);
    }
    if uses.len() > MOST_USES {
        return Err(fields.invalid("tools", "an array of at most 256 different types"));
    }
    Ok(uses)
}

/// The providers for which `provider.options` has fields of their own (OpenRouter: Provider Routing).
fn optioned_providers<'a>(fields: &Fields<'_, 'a>) -> Result<Vec<Cow<'a, str>>, RequestError> {
    let provider = fields.object("provider")?.unwrap_or_default();
    let options = Fields::new(&provider, "provider.").object("options")?;
    let options = options.unwrap_or_default().into_iter();
    Ok(options.map(|option| option.name).collect())
}

/// Hands every element of an array field to `take`.
fn each<'a, T: Deserialize<'a>>(
    fields: &Fields<'_, 'a>,
    name: &'static str,
    expected: &'static str,
    take: impl FnMut(T),
) -> Result<(), RequestError> {
    let Some(array) = fields.value(name)? else {
        return Ok(());
    };
    json::each_element(array, take)
        .map(drop)
        .map_err(|_| fields.invalid(name, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Result<Vec<CostRaisingUse>, RequestError> {
        let members = json::members(body).unwrap();
        cost_raising_uses(&Fields::new(&members, ""))
    }

    #[test]
    fn what_raises_the_cost_is_found() {
        use CostRaisingKind::{
            OutputModalities, Plugins, ProviderOptions, ServerTools, ServiceTiers, WebSearchOptions,
        };
        for (body, expected) in [
            (
                r#"{"plugins":[{"id":"web"},{"id":"web"}]}"#,
                vec![(Plugins, "web")],
            ),
            (
                r#"{"plugins":[{"id":"response-healing"},{"id":"new"},{"id":"web"}]}"#,
                vec![(Plugins, "new"), (Plugins, "web")],
            ),
            (r#"{"plugins":[{}]}"#, vec![(Plugins, "")]),
            (r#"{"plugins":[{"id":"context-compression"}]}"#, vec![]),
            (r#"{"plugins":[]}"#, vec![]),
            (
                r#"{"tools":[{"type":"function","function":{}},{"type":"openrouter:web_search"}]}"#,
                vec![(ServerTools, "openrouter:web_search")],
            ),
            (
                r#"{"tools":[{"type":"Function"}]}"#,
                vec![(ServerTools, "Function")],
            ),
            (
                r#"{"tools":[{"type":"functio\u006e"}],"plugins":null}"#,
                vec![],
            ),
            (r#"{"web_search_options":{}}"#, vec![(WebSearchOptions, "")]),
            (
                r#"{"service_tier":"priority"}"#,
                vec![(ServiceTiers, "priority")],
            ),
            (r#"{"service_tier":"flex","modalities":["text"]}"#, vec![]),
            (
                r#"{"provider":{"only":["a"],"options":{"open\u0061i":{"service_tier":"priority"},"b":{}}}}"#,
                vec![(ProviderOptions, "openai"), (ProviderOptions, "b")],
            ),
            (r#"{"provider":{"options":null}}"#, vec![]),
            (
                r#"{"modalities":["text","image"]}"#,
                vec![(OutputModalities, "image")],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(kind, id)| CostRaisingUse::new(kind, id))
                .collect();
            assert_eq!(found(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn however_many_there_are_they_are_bounded() {
        let tools: Vec<String> = (0..1_000)
            .map(|n| format!(r#"{{"type":"t{n}"}}"#))
            .collect();
        let body = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
        assert_eq!(found(&body).unwrap_err().param(), Some("tools"));
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
            (r#"{"provider":{"options":[]}}"#, "provider.options"),
            (r#"{"provider":{"options":{}},"provider":{}}"#, "provider"),
        ] {
            assert_eq!(found(body).unwrap_err().param(), Some(param), "{body}");
        }
    }
}
