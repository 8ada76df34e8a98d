//! What the simulator reads of a chat request. A field that stands twice counts as its last (as in JavaScript).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::directives::Directives;

/// A chat request; what isn't named here is ignored.
#[derive(Debug, Default)]
pub(crate) struct ChatRequest<'a> {
    pub(crate) model: Option<String>,
    pub(crate) models: Vec<String>,
    pub(crate) messages: Option<&'a RawValue>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<&'a RawValue>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) max_completion_tokens: Option<u64>,
    pub(crate) tools: Option<&'a RawValue>,
    pub(crate) tool_choice: Option<&'a RawValue>,
    pub(crate) response_format: Option<&'a RawValue>,
    pub(crate) plugins: Option<&'a RawValue>,
    pub(crate) user: Option<String>,
    pub(crate) provider: Option<ProviderPreferences<'a>>,
    pub(crate) x_sim: Directives,
}

/// `provider`, of which only the price limit matters.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ProviderPreferences<'a> {
    #[serde(borrow)]
    pub(crate) max_price: Option<&'a RawValue>,
}

/// `provider.max_price`: USD per million tokens, per request, per image; numbers or texts.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct MaximumPrice<'a> {
    #[serde(borrow)]
    pub(crate) prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) completion: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) request: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) image: Option<&'a RawValue>,
}

impl ChatRequest<'_> {
    /// The tighter one of the two output limits.
    pub(crate) fn output_limit(&self) -> Option<u64> {
        match (self.max_tokens, self.max_completion_tokens) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Whether the answer is to be streamed.
    pub(crate) fn streamed(&self) -> bool {
        self.stream == Some(true)
    }

    /// The requested models in the order of preference.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.model
            .iter()
            .chain(self.models.iter())
            .map(String::as_str)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Model,
    Models,
    Messages,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    Tools,
    ToolChoice,
    ResponseFormat,
    Plugins,
    User,
    Provider,
    XSim,
    #[serde(other)]
    Other,
}

struct ChatVisitor;

impl<'de> Visitor<'de> for ChatVisitor {
    type Value = ChatRequest<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a chat request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut request = ChatRequest::default();
        while let Some(field) = map.next_key()? {
            match field {
                Field::Model => request.model = map.next_value()?,
                Field::Models => {
                    request.models = map.next_value::<Option<_>>()?.unwrap_or_default();
                }
                Field::Messages => request.messages = Some(map.next_value()?),
                Field::Stream => request.stream = map.next_value()?,
                Field::StreamOptions => request.stream_options = Some(map.next_value()?),
                Field::MaxTokens => request.max_tokens = map.next_value()?,
                Field::MaxCompletionTokens => request.max_completion_tokens = map.next_value()?,
                Field::Tools => request.tools = Some(map.next_value()?),
                Field::ToolChoice => request.tool_choice = Some(map.next_value()?),
                Field::ResponseFormat => request.response_format = Some(map.next_value()?),
                Field::Plugins => request.plugins = Some(map.next_value()?),
                Field::User => request.user = map.next_value()?,
                Field::Provider => request.provider = map.next_value()?,
                Field::XSim => {
                    request.x_sim = map.next_value::<Option<_>>()?.unwrap_or_default();
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(request)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ChatRequest<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ChatVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_field_counts_and_unknown_ones_are_ignored() {
        let text = r#"{"model":"a","foo":{"deep":[1]},"max_tokens":5,"model":"b","max_tokens":7,
            "max_completion_tokens":6,"messages":[{"role":"user","content":"hi"}],"x_sim":{"cut":3}}"#;
        let request: ChatRequest<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(request.model.as_deref(), Some("b"));
        assert_eq!(request.output_limit(), Some(6));
        assert_eq!(request.x_sim.cut, 3);
        assert!(!request.streamed());
    }
}
