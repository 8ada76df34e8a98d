//! The body for a compatible server: what OpenAI's API takes, and what the server's price table says that it takes beside.
//! All else is left out, as OpenRouter leaves out what a model does not support.

use airouter_billing::price_table::{NEVER_EXTRA, ServedAs};
use serde_json::value::RawValue;

use super::json::{self, JsonError, Member, ObjectWriter};
use super::request::ChatRequest;

/// Fields that pass as they are (OpenAI: Create chat completion). Left out are those that would cost extra, and those by
/// which the operator's account there would keep a tenant's requests.
const FIELDS: [&str; 22] = [
    "stream",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "reasoning_effort",
    "verbosity",
    "prediction",
    "prompt_cache_key",
    "user",
];

/// Fields of a message that pass; others are what OpenRouter puts into answers, which clients send back.
const MESSAGE_FIELDS: [&str; 8] = [
    "role",
    "content",
    "name",
    "refusal",
    "audio",
    "tool_calls",
    "tool_call_id",
    "function_call",
];

/// A mark in a part of a message that only OpenRouter reads.
const PART_FIELD: &str = "cache_control";

/// What of `provider` is no restriction of who may serve: prices are kept by whoever serves, an order of OpenRouter's own
/// providers says nothing about others.
const PROVIDER_FIELDS: [&str; 2] = ["max_price", "sort"];
/// The prices of `provider.max_price` that a hold keeps to.
const MAX_PRICES: [&str; 2] = ["prompt", "completion"];

/// Whether a request asks for something that only OpenRouter does: plugins, server tools, transforms, and restrictions of
/// who may serve it.
pub(crate) fn needs_openrouter(request: &ChatRequest<'_>) -> bool {
    let field = |name| json::last(&request.members, name);
    let is_list = |list: &str| list.trim_start_matches('[').trim_start() != "]";
    let provider = field("provider").and_then(|provider| json::members(provider).ok());
    !request.cost_raising.is_empty()
        || ["plugins", "transforms"]
            .into_iter()
            .filter_map(field)
            .any(is_list)
        || provider.is_some_and(|members| restricts(&members))
}

fn restricts(provider: &[Member<'_>]) -> bool {
    let max_price = json::last(provider, "max_price").and_then(|prices| json::members(prices).ok());
    let is_given = |known: &[&str], member: &Member<'_>| {
        member.value_unless_null().is_some() && !known.contains(&&*member.name)
    };
    provider
        .iter()
        .any(|member| is_given(&PROVIDER_FIELDS, member))
        || max_price.is_some_and(|prices| prices.iter().any(|price| is_given(&MAX_PRICES, price)))
}

/// `body`, a chat request as OpenRouter would get it, for a server that is asked as `served_as` says and may answer with
/// `most_output` tokens.
///
/// # Errors
/// [`JsonError`] if it is no JSON object.
pub fn rewrite_for_compatible(
    body: &[u8],
    served_as: &ServedAs,
    most_output: u64,
) -> Result<String, JsonError> {
    let members = json::members_of(body)?;
    let mut writer = ObjectWriter::with_capacity(body.len() + 128);
    writer.add("model", &json::quote(&served_as.upstream_model));
    for member in &members {
        let name = &*member.name;
        if name == "messages" {
            writer.keep_with_value(member, &messages(member.value));
        } else if FIELDS.contains(&name) || is_extra(name, served_as) {
            writer.keep(member);
        }
    }
    if json::last(&members, "stream") == Some("true") {
        writer.add("stream_options", r#"{"include_usage":true}"#);
    }
    if let Some(effort) = reasoning_effort(&members) {
        writer.add("reasoning_effort", &effort);
    }
    writer.add(served_as.limit_field.name(), &most_output.to_string());
    Ok(writer.finish())
}

/// Whether the price table lets a field through that means nothing to us.
fn is_extra(name: &str, served_as: &ServedAs) -> bool {
    const OURS: [&str; 5] = [
        "model",
        "messages",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
    ];
    served_as.extra_fields.iter().any(|extra| extra == name)
        && !NEVER_EXTRA.contains(&name)
        && !OURS.contains(&name)
}

/// OpenRouter's `reasoning.effort` by OpenAI's name, unless the client gave that.
fn reasoning_effort(members: &[Member<'_>]) -> Option<String> {
    if json::last(members, "reasoning_effort").is_some() {
        return None;
    }
    let reasoning = json::members(json::last(members, "reasoning")?).ok()?;
    let effort = json::string(json::last(&reasoning, "effort")?)?;
    Some(json::quote(&effort))
}

/// The messages, each without what only OpenRouter knows.
fn messages(messages: &str) -> String {
    rebuilt(messages, |message| {
        let Ok(members) = json::members(message) else {
            return message.to_owned();
        };
        let mut writer = ObjectWriter::with_capacity(message.len());
        for member in &members {
            match &*member.name {
                "content" => writer.keep_with_value(member, &rebuilt(member.value, part)),
                name if MESSAGE_FIELDS.contains(&name) => writer.keep(member),
                _ => {}
            }
        }
        writer.finish()
    })
}

fn part(part: &str) -> String {
    let Ok(members) = json::members(part) else {
        return part.to_owned();
    };
    let mut writer = ObjectWriter::with_capacity(part.len());
    for member in members.iter().filter(|member| member.name != PART_FIELD) {
        writer.keep(member);
    }
    writer.finish()
}

/// An array with each element rebuilt; what is none stays as it is.
fn rebuilt(array: &str, rebuild: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(array.len() + 2);
    text.push('[');
    let read = json::each_element(array, |element: &RawValue| {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&rebuild(element.get()));
    });
    if read.is_err() {
        return array.to_owned();
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use airouter_billing::price_table::LimitField;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn rewritten(body: &Value, served_as: &ServedAs) -> Value {
        let text = rewrite_for_compatible(body.to_string().as_bytes(), served_as, 100).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_server_gets_its_own_name_and_what_openai_knows() {
        let body = json!({
            "model": "our/model", "messages": [{"role": "user", "content": "hi"}], "stream": true, "temperature": 0.5,
            "max_tokens": 500, "max_completion_tokens": 400, "user": "pseudonym", "stream_options": {"include_usage": false},
            "provider": {"max_price": {"prompt": "1"}}, "usage": {"include": true}, "transforms": [], "route": "fallback",
            "reasoning": {"effort": "high", "exclude": true}, "top_k": 5, "x": 1, "store": true, "metadata": {"a": "b"},
        });
        let expected = json!({
            "model": "gpt-x", "messages": [{"role": "user", "content": "hi"}], "stream": true, "temperature": 0.5,
            "user": "pseudonym", "stream_options": {"include_usage": true}, "reasoning_effort": "high", "max_tokens": 100,
        });
        assert_eq!(rewritten(&body, &ServedAs::named("gpt-x")), expected);
    }

    #[test]
    fn the_table_says_how_answers_are_limited_and_what_else_passes() {
        let served_as = ServedAs {
            limit_field: LimitField::MaxCompletionTokens,
            extra_fields: vec![
                "top_k".to_owned(),
                "provider".to_owned(),
                "model".to_owned(),
            ],
            ..ServedAs::named("gpt-x")
        };
        let body = json!({
            "model": "a", "messages": [], "top_k": 5, "min_p": 1, "max_tokens": 7, "provider": {},
            "reasoning_effort": "low", "reasoning": {"effort": "high"},
        });
        let expected = json!({
            "model": "gpt-x", "messages": [], "top_k": 5, "reasoning_effort": "low", "max_completion_tokens": 100,
        });
        assert_eq!(rewritten(&body, &served_as), expected);
    }

    #[test]
    fn messages_lose_what_only_openrouter_knows() {
        let body = json!({"messages": [
            {"role": "system", "content": [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": null, "reasoning": "r", "reasoning_details": [], "images": [],
             "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "cache_control"},
        ]});
        let expected = json!([
            {"role": "system", "content": [{"type": "text", "text": "t"}]},
            {"role": "assistant", "content": null,
             "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "cache_control"},
        ]);
        assert_eq!(
            rewritten(&body, &ServedAs::named("gpt-x"))["messages"],
            expected
        );
    }

    #[test]
    fn what_only_openrouter_does_is_recognized() {
        let needs = |more: &str| {
            let body =
                format!(r#"{{"model":"a","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
            needs_openrouter(&ChatRequest::parse(body.as_bytes()).unwrap())
        };
        for more in [
            "",
            r#","plugins":[],"transforms":[ ],"provider":{}"#,
            r#","provider":{"max_price":{"prompt":1,"completion":"2"},"sort":"price","only":null}"#,
            r#","models":["b"],"route":"fallback","reasoning":{"effort":"low"}"#,
            r#","tools":[{"type":"function","function":{"name":"f"}}]"#,
        ] {
            assert!(!needs(more), "{more}");
        }
        for more in [
            r#","plugins":[{"id":"response-healing"}]"#,
            r#","plugins":[{"id":"web"}]"#,
            r#","transforms":["middle-out"]"#,
            r#","tools":[{"type":"openrouter:web_search"}]"#,
            r#","provider":{"only":["openai"]}"#,
            r#","provider":{"order":["openai"]}"#,
            r#","provider":{"zdr":true}"#,
            r#","provider":{"data_collection":"deny"}"#,
            r#","provider":{"max_price":{"request":1}}"#,
        ] {
            assert!(needs(more), "{more}");
        }
    }

    proptest! {
        /// Whatever a client sends, and whatever a table says: a JSON object with no field that only OpenRouter knows.
        #[test]
        fn nothing_of_openrouters_leaks(
            names in proptest::collection::vec(prop_oneof![
                proptest::sample::select(NEVER_EXTRA.to_vec()).prop_map(str::to_owned),
                proptest::sample::select(FIELDS.to_vec()).prop_map(str::to_owned),
                "[a-z_\\PC]{0,8}",
            ], 0..24),
            value in prop_oneof![Just(json!(1)), Just(json!({"effort": "x"})), Just(json!([[], {"a": "}"}])), "\\PC{0,9}".prop_map(Value::from)],
        ) {
            let mut body: serde_json::Map<_, _> =
                names.iter().map(|name| (name.clone(), value.clone())).collect();
            body.insert("messages".to_owned(), value.clone());
            let served_as = ServedAs {
                extra_fields: names.iter().step_by(2).cloned().collect(),
                ..ServedAs::named("gpt-x")
            };
            let sent = rewritten(&Value::Object(body), &served_as);
            for name in sent.as_object().unwrap().keys() {
                prop_assert!(!NEVER_EXTRA.contains(&name.as_str()), "{}", name);
                let is_known = FIELDS.contains(&name.as_str())
                    || ["model", "messages", "max_tokens", "stream_options"].contains(&name.as_str())
                    || served_as.extra_fields.contains(name);
                prop_assert!(is_known, "{}", name);
            }
            prop_assert_eq!(&sent["model"], "gpt-x");
            prop_assert_eq!(&sent["max_tokens"], 100);
        }
    }
}
