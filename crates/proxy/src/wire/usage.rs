//! The `usage` object of an answer: what it reports, and how it is shown to a client.

use rust_decimal::Decimal;
use serde_json::value::RawValue;

use super::json::{self, JsonError, Member, ObjectWriter};

/// Nesting beyond this is not shown to a client; real usage objects have two levels.
const LEVELS_MAX: u32 = 8;

/// The longest text of an amount that is kept.
const AMOUNT_MAX: usize = 64;

/// Words that mark a member as the upstream's money, wherever they occur in its name (`cost_details`,
/// `upstream_inference_cost`, `cache_discount`, …), unless it is a count of tokens.
const MONEY_WORDS: &[&str] = &[
    "cost", "upstream", "price", "pricing", "discount", "credit", "charge", "billed", "byok", "usd",
];

/// Members without money that are in most usage objects, to know at once.
const WITHOUT_MONEY: &[&str] = &[
    "prompt_tokens_details",
    "completion_tokens_details",
    "server_tool_use",
    "server_tool_use_details",
];

/// Why a usage object could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Not an object at all.
    #[error("the usage is unreadable: {0}")]
    Unreadable(#[from] JsonError),
    /// A count that is negative or no integer: nothing else of this report can be trusted.
    #[error("the usage reports a token count that is no count: {field}")]
    InvalidCount {
        /// The member that holds it.
        field: &'static str,
    },
}

/// What an upstream reports of a request. Counts are tokens of the model's own tokenizer; a missing detail is 0.
/// Amounts are the texts of JSON numbers in USD, as they came (also in exponent form).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// All input, cached or not.
    pub prompt_tokens: Option<u64>,
    /// All output, reasoning included.
    pub completion_tokens: Option<u64>,
    /// Their sum, as reported.
    pub total_tokens: Option<u64>,
    /// Of the input: read from a cache.
    pub cached_tokens: u64,
    /// Of the input: written to a cache.
    pub cache_write_tokens: u64,
    /// Of the input: audio.
    pub prompt_audio_tokens: u64,
    /// Of the input: images.
    pub prompt_image_tokens: u64,
    /// Of the input: video.
    pub prompt_video_tokens: u64,
    /// Of the output: reasoning.
    pub reasoning_tokens: u64,
    /// Of the output: audio.
    pub completion_audio_tokens: u64,
    /// Of the output: images.
    pub completion_image_tokens: u64,
    /// What the request costs (with a key of one's own at the provider: only the fee).
    pub cost: Option<String>,
    /// Whether a key of one's own at the provider served.
    pub is_byok: Option<bool>,
    /// What the provider bills for the inference itself.
    pub upstream_inference_cost: Option<String>,
    /// Calls of server tools that ran.
    pub server_tool_calls: u64,
    /// Web searches.
    pub web_search_requests: u64,
}

impl UsageReport {
    /// Reads a usage object. Unknown members, and known ones of an odd type, are as if they weren't there.
    ///
    /// # Errors
    /// [`UsageError`]
    pub fn parse(usage: &str) -> Result<Self, UsageError> {
        let top = json::members(usage)?;
        let prompt = object(&top, "prompt_tokens_details");
        let completion = object(&top, "completion_tokens_details");
        let costs = object(&top, "cost_details");
        let mut tools = object(&top, "server_tool_use_details");
        if tools.is_empty() {
            tools = object(&top, "server_tool_use");
        }
        Ok(Self {
            prompt_tokens: count(&top, "prompt_tokens")?,
            completion_tokens: count(&top, "completion_tokens")?,
            total_tokens: count(&top, "total_tokens")?,
            cached_tokens: count(&prompt, "cached_tokens")?.unwrap_or(0),
            cache_write_tokens: count(&prompt, "cache_write_tokens")?.unwrap_or(0),
            prompt_audio_tokens: count(&prompt, "audio_tokens")?.unwrap_or(0),
            prompt_image_tokens: count(&prompt, "image_tokens")?.unwrap_or(0),
            prompt_video_tokens: count(&prompt, "video_tokens")?.unwrap_or(0),
            reasoning_tokens: count(&completion, "reasoning_tokens")?.unwrap_or(0),
            completion_audio_tokens: count(&completion, "audio_tokens")?.unwrap_or(0),
            completion_image_tokens: count(&completion, "image_tokens")?.unwrap_or(0),
            cost: json::last(&top, "cost").and_then(amount),
            is_byok: json::last(&top, "is_byok").and_then(|value| value.parse().ok()),
            upstream_inference_cost: json::last(&costs, "upstream_inference_cost").and_then(amount),
            server_tool_calls: count(&tools, "tool_calls_executed")?.unwrap_or(0),
            web_search_requests: count(&tools, "web_search_requests")?.unwrap_or(0),
        })
    }
}

/// The members of a member that is an object; none if it is missing or something else.
fn object<'a>(members: &[Member<'a>], name: &str) -> Vec<Member<'a>> {
    json::last(members, name)
        .and_then(|value| json::members(value).ok())
        .unwrap_or_default()
}

fn count(members: &[Member<'_>], field: &'static str) -> Result<Option<u64>, UsageError> {
    match json::last(members, field) {
        Some(value) if is_numeric(value) => {
            let digits_fit = value
                .parse()
                .map_err(|_| UsageError::InvalidCount { field });
            digits_fit.map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether a JSON value is a number.
fn is_numeric(value: &str) -> bool {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// The text of an amount, written as a number or as a string that holds one.
fn amount(value: &str) -> Option<String> {
    let text = json::string(value).unwrap_or(value.into());
    (text.len() <= AMOUNT_MAX && json::is_number(&text)).then(|| text.into_owned())
}

/// Whose conventions an answer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `/v1`
    OpenAi,
    /// `/api/v1`
    OpenRouter,
}

/// The usage object as a client sees it: the same members in the same order with the same texts, but `cost` is the
/// client's price in USD (added if it isn't there), and nothing is left of what the upstream says of money.
///
/// # Errors
/// [`JsonError`] if `usage` is no object.
pub fn rewrite_usage(
    usage: &str,
    price_usd: Decimal,
    dialect: Dialect,
) -> Result<String, JsonError> {
    let price = price_usd.normalize().to_string();
    let mut price_to_write = Some(price.as_str());
    let mut writer = ObjectWriter::with_capacity(usage.len() + price.len() + 16);
    for member in &json::members(usage)? {
        match &*member.name {
            "cost" => {
                if let Some(price) = price_to_write.take() {
                    writer.keep_with_value(member, price);
                }
            }
            "is_byok" if dialect == Dialect::OpenRouter => writer.keep_with_value(member, "false"),
            _ => keep_without_money(&mut writer, member, LEVELS_MAX),
        }
    }
    if let Some(price) = price_to_write {
        writer.add("cost", price);
    }
    Ok(writer.finish())
}

fn keep_without_money(writer: &mut ObjectWriter, member: &Member<'_>, levels: u32) {
    if is_money(&member.name) {
        return;
    }
    if member.value.starts_with(['{', '[']) {
        writer.keep_with_value(member, &without_money(member.value, levels));
    } else {
        writer.keep(member);
    }
}

fn is_money(name: &str) -> bool {
    if name.ends_with("_tokens") || WITHOUT_MONEY.contains(&name) {
        return false;
    }
    let name = name.to_ascii_lowercase();
    MONEY_WORDS.iter().any(|word| name.contains(word))
}

/// A value without the members that are the upstream's money, at any depth.
fn without_money(value: &str, levels: u32) -> String {
    let Some(levels) = levels.checked_sub(1) else {
        return "null".to_owned();
    };
    if let Ok(members) = json::members(value) {
        let mut writer = ObjectWriter::with_capacity(value.len());
        for member in &members {
            keep_without_money(&mut writer, member, levels);
        }
        return writer.finish();
    }
    let mut elements = Vec::new();
    match json::each_element(value, |element: &RawValue| {
        elements.push(without_money(element.get(), levels))
    }) {
        Ok(_) => format!("[{}]", elements.join(",")),
        Err(JsonError::NotAnArray) => value.to_owned(),
        Err(_) => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const RECORDED: &str = r#"{"prompt_tokens":12, "completion_tokens":30,"total_tokens":42,"cost":7.1e-05,"is_byok":false,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2,"audio_tokens":0,"video_tokens":0},"cost_details":{"upstream_inference_cost":7.1e-05,"upstream_inference_prompt_cost":0.00001},"completion_tokens_details":{"reasoning_tokens":9,"image_tokens":0},"server_tool_use_details":{"tool_calls_executed":2,"web_search_requests":1}}"#;

    #[test]
    fn a_recorded_usage_is_read() {
        let report = UsageReport::parse(RECORDED).unwrap();
        let expected = UsageReport {
            prompt_tokens: Some(12),
            completion_tokens: Some(30),
            total_tokens: Some(42),
            cached_tokens: 4,
            cache_write_tokens: 2,
            reasoning_tokens: 9,
            cost: Some("7.1e-05".to_owned()),
            is_byok: Some(false),
            upstream_inference_cost: Some("7.1e-05".to_owned()),
            server_tool_calls: 2,
            web_search_requests: 1,
            ..UsageReport::default()
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn odd_types_are_ignored_and_impossible_counts_are_errors() {
        let odd = r#"{"prompt_tokens":"12","completion_tokens":null,"cost":"0.5","prompt_tokens_details":7,"is_byok":1,"x":{}}"#;
        let expected = UsageReport {
            cost: Some("0.5".to_owned()),
            ..UsageReport::default()
        };
        assert_eq!(UsageReport::parse(odd).unwrap(), expected);
        for (value, field) in [
            ("-1", "prompt_tokens"),
            ("1.5", "prompt_tokens"),
            ("1e30", "prompt_tokens"),
            ("99999999999999999999", "prompt_tokens"),
        ] {
            let usage = format!(r#"{{"{field}":{value}}}"#);
            assert_eq!(
                UsageReport::parse(&usage),
                Err(UsageError::InvalidCount { field }),
                "{value}"
            );
        }
        assert!(matches!(
            UsageReport::parse("null"),
            Err(UsageError::Unreadable(_))
        ));
        assert_eq!(UsageReport::parse(r#"{"cost":null}"#).unwrap().cost, None);
        assert_eq!(UsageReport::parse(r#"{"cost":"abc"}"#).unwrap().cost, None);
    }

    #[test]
    fn the_client_sees_its_price_and_nothing_else_of_money() {
        let price = Decimal::new(1_136, 7);
        let openai = rewrite_usage(RECORDED, price, Dialect::OpenAi).unwrap();
        assert_eq!(
            openai,
            r#"{"prompt_tokens":12,"completion_tokens":30,"total_tokens":42,"cost":0.0001136,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2,"audio_tokens":0,"video_tokens":0},"completion_tokens_details":{"reasoning_tokens":9,"image_tokens":0},"server_tool_use_details":{"tool_calls_executed":2,"web_search_requests":1}}"#
        );
        let openrouter = rewrite_usage(RECORDED, price, Dialect::OpenRouter).unwrap();
        assert!(openrouter.contains(r#""cost":0.0001136,"is_byok":false"#));
        assert!(!openrouter.contains("cost_details"));
    }

    #[test]
    fn a_price_is_added_where_there_is_none_and_written_once() {
        let price = Decimal::new(800, 5);
        assert_eq!(
            rewrite_usage("{}", price, Dialect::OpenAi).unwrap(),
            r#"{"cost":0.008}"#
        );
        assert_eq!(
            rewrite_usage(r#"{"cost":1,"cost":2}"#, price, Dialect::OpenAi).unwrap(),
            r#"{"cost":0.008}"#
        );
    }

    /// A usage object in which each amount of the upstream's is one of a few unmistakable texts.
    fn usage(levels: u32) -> BoxedStrategy<Value> {
        let name = prop_oneof![
            Just("cost".to_owned()),
            Just("upstream_inference_cost".to_owned()),
            Just("server_tool_cost".to_owned()),
            Just("Cache_Discount".to_owned()),
            Just("cost_details".to_owned()),
        ];
        let money = proptest::collection::btree_map(name, Just(Value::from("7777")), 0..4);
        let tokens = proptest::collection::btree_map(
            "[m-z]{1,3}_tokens",
            (0_u64..7000).prop_map(Value::from),
            0..4,
        );
        let inner = if levels == 0 {
            Just(Vec::new()).boxed()
        } else {
            proptest::collection::vec(
                ("(cost|x|details)_[a-z]", usage(levels - 1), any::<bool>()),
                0..3,
            )
            .boxed()
        };
        (money, tokens, inner)
            .prop_map(|(money, tokens, inner)| {
                let nested = inner.into_iter().map(|(name, value, in_array)| {
                    (
                        name,
                        if in_array {
                            Value::from(vec![value])
                        } else {
                            value
                        },
                    )
                });
                Value::Object(money.into_iter().chain(tokens).chain(nested).collect())
            })
            .boxed()
    }

    proptest! {
        #[test]
        fn no_amount_of_the_upstream_survives(usage in usage(3)) {
            let text = usage.to_string();
            let rewritten = rewrite_usage(&text, Decimal::new(5, 1), Dialect::OpenRouter).unwrap();
            prop_assert!(!rewritten.contains("7777"), "{}", rewritten);
            let rewritten: Value = serde_json::from_str(&rewritten).unwrap();
            prop_assert_eq!(rewritten["cost"].to_string(), "0.5");
            for (name, value) in usage.as_object().unwrap() {
                if name.ends_with("_tokens") {
                    prop_assert_eq!(&rewritten[name], value);
                }
            }
        }

        #[test]
        fn random_text_is_no_panic(text in "\\PC{0,80}") {
            let _ = UsageReport::parse(&text);
            let _ = rewrite_usage(&text, Decimal::ONE, Dialect::OpenAi);
        }
    }
}
