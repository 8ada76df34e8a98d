//! What is changed in a request body before it is forwarded. Everything else keeps its bytes.

use rust_decimal::Decimal;

use super::json::{self, Member, ObjectWriter};
use super::request::{ChatRequest, MaxPrice};

/// Fields that are never forwarded: they would tie a tenant's requests together in the operator's own account, or show
/// a client the transformed request (OpenRouter: Broadcast, Debugging, Provider Routing).
const NEVER_FORWARDED: &[&str] = &["debug", "trace", "session_id"];

/// The field that an output limit is written into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitField {
    /// `max_tokens`
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

impl LimitField {
    fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// The most output that is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// In tokens. Limits of the client's that are higher are lowered to it.
    pub tokens: u64,
    /// The field that is added if the client gives no limit.
    pub added_as: LimitField,
}

/// What is to be changed; `None` leaves a field as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RewritePlan<'p> {
    /// The models to ask for in place of those that the client names: the preferred one, then what to fall back on.
    pub models: Option<&'p [&'p str]>,
    /// The most output that is paid for.
    pub output_limit: Option<OutputLimit>,
    /// What the upstream may charge. Each bound that is given replaces the client's, which is in the client's prices and
    /// must have been taken into account; the rest of `provider` stays.
    pub max_price: MaxPrice,
    /// The tenant's pseudonym.
    pub user: Option<&'p str>,
}

/// The body of `request` with what `plan` changes, and without what is never forwarded.
#[must_use]
pub fn rewrite(request: &ChatRequest<'_>, plan: &RewritePlan<'_>) -> String {
    let mut missing = Replacements::new(request, plan);
    let mut writer = ObjectWriter::with_capacity(request.body_bytes + missing.bytes() + 64);
    for member in &request.members {
        let is_replaced_by_nothing =
            member.name == "models" && plan.models.is_some_and(|models| models.len() < 2);
        if NEVER_FORWARDED.contains(&&*member.name) || is_replaced_by_nothing {
            continue;
        }
        match missing.take(&member.name) {
            Some(value) => writer.keep_with_value(member, &value),
            None => writer.keep(member),
        }
    }
    for (name, value) in missing.0 {
        writer.add(name, &value);
    }
    writer.finish()
}

/// The new values that were not yet written, by name.
struct Replacements(Vec<(&'static str, String)>);

impl Replacements {
    fn new(request: &ChatRequest<'_>, plan: &RewritePlan<'_>) -> Self {
        let mut values = Vec::with_capacity(6);
        if let Some((first, fallbacks)) = plan.models.and_then(<[_]>::split_first) {
            values.push(("model", json::quote(first)));
            if !fallbacks.is_empty() {
                let fallbacks: Vec<_> = fallbacks.iter().map(|model| json::quote(model)).collect();
                values.push(("models", format!("[{}]", fallbacks.join(","))));
            }
        }
        values.extend(plan.user.map(|user| ("user", json::quote(user))));
        if let Some(limit) = plan.output_limit {
            values.extend(output_limits(request, limit));
        }
        if plan.max_price != MaxPrice::default() {
            let provider = json::last(&request.members, "provider");
            values.push((
                "provider",
                provider_with_max_price(provider, &plan.max_price),
            ));
        }
        Self(values)
    }

    fn bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum()
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(replaced, _)| *replaced == name)?;
        Some(self.0.remove(index).1)
    }
}

/// The limit fields that change: those of the client's that are too high, or the one to add if it has none.
fn output_limits(request: &ChatRequest<'_>, limit: OutputLimit) -> Vec<(&'static str, String)> {
    let of_client = [
        (LimitField::MaxTokens, request.max_tokens),
        (
            LimitField::MaxCompletionTokens,
            request.max_completion_tokens,
        ),
    ];
    let changed = |field: LimitField| (field.name(), limit.tokens.to_string());
    if request.output_limit().is_none() {
        return vec![changed(limit.added_as)];
    }
    let too_high = of_client
        .into_iter()
        .filter(|(_, tokens)| tokens.is_some_and(|tokens| tokens > limit.tokens));
    too_high.map(|(field, _)| changed(field)).collect()
}

fn provider_with_max_price(provider: Option<&str>, max_price: &MaxPrice) -> String {
    let members = provider
        .and_then(|provider| json::members(provider).ok())
        .unwrap_or_default();
    let prices = max_price_object(json::last(&members, "max_price"), max_price);
    let mut writer = ObjectWriter::with_capacity(provider.map_or(0, str::len) + prices.len() + 16);
    for member in members.iter().filter(|member| member.name != "max_price") {
        writer.keep(member);
    }
    writer.add("max_price", &prices);
    writer.finish()
}

/// Prices are strings, as in OpenRouter's own SDKs.
fn max_price_object(of_client: Option<&str>, max_price: &MaxPrice) -> String {
    let given: Vec<(&'static str, Decimal)> = max_price
        .by_name()
        .into_iter()
        .filter_map(|(name, price)| Some((name, price?)))
        .collect();
    let members = of_client
        .and_then(|prices| json::members(prices).ok())
        .unwrap_or_default();
    let is_replaced = |member: &Member<'_>| given.iter().any(|(name, _)| member.name == *name);
    let mut writer = ObjectWriter::with_capacity(128);
    for member in members.iter().filter(|member| !is_replaced(member)) {
        writer.keep(member);
    }
    for (name, price) in given {
        writer.add(name, &format!("\"{}\"", price.normalize()));
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const MESSAGES: &str = r#""messages": [ {"role":"user", "content":"h\u00ef"} ]"#;

    fn rewritten(body: &str, plan: &RewritePlan<'_>) -> String {
        rewrite(&ChatRequest::parse(body.as_bytes()).unwrap(), plan)
    }

    fn limit(tokens: u64) -> RewritePlan<'static> {
        let output_limit = Some(OutputLimit {
            tokens,
            added_as: LimitField::MaxTokens,
        });
        RewritePlan {
            output_limit,
            ..RewritePlan::default()
        }
    }

    #[test]
    fn only_what_is_planned_changes() {
        let body =
            format!(r#"{{ "temperature" : 0.70 , "model":"x", {MESSAGES} , "top_p":1e-1 }}"#);
        let plan = RewritePlan {
            models: Some(&["a/\"b\""]),
            user: Some("u_1"),
            ..limit(100)
        };
        assert_eq!(
            rewritten(&body, &plan),
            format!(
                r#"{{"temperature" : 0.70,"model":"a/\"b\"",{MESSAGES},"top_p":1e-1,"user":"u_1","max_tokens":100}}"#
            )
        );
    }

    #[test]
    fn limits_are_only_lowered() {
        let body = |more: &str| format!("{{{MESSAGES}{more}}}");
        for (fields, expected) in [
            ("", r#","max_tokens":100"#),
            (r#","max_tokens":null"#, r#","max_tokens":100"#),
            (r#","max_tokens":50"#, r#","max_tokens":50"#),
            (r#","max_tokens":500"#, r#","max_tokens":100"#),
            (
                r#","max_completion_tokens":500"#,
                r#","max_completion_tokens":100"#,
            ),
            (
                r#","max_completion_tokens":50,"max_tokens":500"#,
                r#","max_completion_tokens":50,"max_tokens":100"#,
            ),
            (
                r#","max_completion_tokens":500,"max_tokens":null"#,
                r#","max_completion_tokens":100,"max_tokens":null"#,
            ),
        ] {
            assert_eq!(
                rewritten(&body(fields), &limit(100)),
                body(expected),
                "{fields}"
            );
        }
    }

    #[test]
    fn a_maximum_price_joins_the_clients_provider_preferences() {
        let max_price = MaxPrice {
            prompt: Some(Decimal::new(150, 2)),
            completion: Some(Decimal::new(6, 7)),
            ..MaxPrice::default()
        };
        let plan = RewritePlan {
            max_price,
            ..RewritePlan::default()
        };
        let body = |provider: &str| format!(r#"{{{MESSAGES},"provider":{provider}}}"#);
        for (provider, expected) in [
            (
                r#"{"order":["x"],"max_price":{"prompt":9,"image":0.10},"sort":"price"}"#,
                r#"{"order":["x"],"sort":"price","max_price":{"image":0.10,"prompt":"1.5","completion":"0.0000006"}}"#,
            ),
            (
                "null",
                r#"{"max_price":{"prompt":"1.5","completion":"0.0000006"}}"#,
            ),
            (
                r#"{"max_price":null}"#,
                r#"{"max_price":{"prompt":"1.5","completion":"0.0000006"}}"#,
            ),
        ] {
            assert_eq!(
                rewritten(&body(provider), &plan),
                body(expected),
                "{provider}"
            );
        }
        assert_eq!(
            rewritten(&format!("{{{MESSAGES}}}"), &plan),
            body(r#"{"max_price":{"prompt":"1.5","completion":"0.0000006"}}"#)
        );
    }

    #[test]
    fn other_models_are_asked_for_in_place_of_the_clients() {
        let both = RewritePlan {
            models: Some(&["a", "b"]),
            ..RewritePlan::default()
        };
        let alone = RewritePlan {
            models: Some(&["a"]),
            ..RewritePlan::default()
        };
        for (body, plan, expected) in [
            (
                format!("{{{MESSAGES}}}"),
                both,
                format!(r#"{{{MESSAGES},"model":"a","models":["b"]}}"#),
            ),
            (
                format!(r#"{{"model": "x",{MESSAGES},"models" :["y","z"]}}"#),
                both,
                format!(r#"{{"model": "a",{MESSAGES},"models" :["b"]}}"#),
            ),
            (
                format!(r#"{{"models":["x"],{MESSAGES}}}"#),
                alone,
                format!(r#"{{{MESSAGES},"model":"a"}}"#),
            ),
            (
                format!(r#"{{"mod\u0065ls":["x"],{MESSAGES}}}"#),
                alone,
                format!(r#"{{{MESSAGES},"model":"a"}}"#),
            ),
        ] {
            assert_eq!(rewritten(&body, &plan), expected, "{body}");
        }
    }

    #[test]
    fn what_is_never_forwarded_is_gone_wherever_it_stands() {
        let body = format!(
            r#"{{"debug":{{"echo_upstream_body":true}},"trace":1,{MESSAGES},"session_id":"s","trac\u0065":2}}"#
        );
        assert_eq!(
            rewritten(&body, &RewritePlan::default()),
            format!("{{{MESSAGES}}}")
        );
    }

    proptest! {
        #[test]
        fn untouched_members_are_the_same_bytes(
            members in proptest::collection::btree_map("x[a-z]{1,6}", ("[ \n\t]{0,2}", prop_oneof![
                "-?[1-9][0-9]{0,30}\\.[0-9]{1,9}",
                "[1-9]e-[1-9]",
                "\"[a-z\\\\n{}\\[,:]{0,0}[\\PC&&[^\"\\\\]]{0,10}\"",
                Just("{\"debug\":[1, 2 ,{}]}".to_owned()),
            ]), 0..8),
            tokens in 1_u64..1_000_000,
            position in any::<usize>(),
        ) {
            let mut texts: Vec<String> = members.iter().map(|(name, (space, value))| format!("\"{name}\"{space}:{space}{value}")).collect();
            let at = position % (texts.len() + 1);
            texts.insert(at, MESSAGES.to_owned());
            texts.insert(at, "\"max_tokens\":2000000".to_owned());
            let output = rewritten(&format!("{{{}}}", texts.join(" , ")), &RewritePlan { user: Some("u"), ..limit(tokens) });
            texts[at] = format!("\"max_tokens\":{tokens}");
            texts.push("\"user\":\"u\"".to_owned());
            prop_assert_eq!(&output, &format!("{{{}}}", texts.join(",")));
            prop_assert!(serde_json::from_str::<Value>(&output).is_ok());
        }
    }
}
