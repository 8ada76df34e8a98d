//! `GET /generation`: the upstream's own record of one request, by which it bills.

use serde::Deserialize;

use crate::json;
use crate::number::NumberText;

/// The upstream's record of one request. Money is in USD. Billing uses the native token counts. Source: OpenRouter's
/// OpenAPI document, `/generation`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// `gen-…`.
    pub id: String,
    /// What the upstream charged its account for the request.
    pub total_cost: Option<NumberText>,
    /// What the provider charged on the account's own provider key; means something only if [`Generation::is_byok`].
    pub upstream_inference_cost: Option<NumberText>,
    /// Another name of the total cost.
    pub usage: Option<NumberText>,
    /// What caching saved; negative where writing the cache cost more.
    pub cache_discount: Option<NumberText>,
    /// Whether it ran on the account's own key at the provider.
    #[serde(deserialize_with = "json::null_as_default")]
    pub is_byok: bool,
    /// Prompt tokens, normalized: not what is billed.
    pub tokens_prompt: Option<u64>,
    /// Completion tokens, normalized: not what is billed.
    pub tokens_completion: Option<u64>,
    /// Prompt tokens by the model's tokenizer.
    pub native_tokens_prompt: Option<u64>,
    /// Completion tokens by the model's tokenizer, with reasoning.
    pub native_tokens_completion: Option<u64>,
    /// Reasoning tokens, a part of the completion.
    pub native_tokens_reasoning: Option<u64>,
    /// Prompt tokens read from the cache.
    pub native_tokens_cached: Option<u64>,
    /// Images and the like in the prompt.
    pub num_media_prompt: Option<u64>,
    /// Images and the like in the answer.
    pub num_media_completion: Option<u64>,
    /// The model that served.
    #[serde(deserialize_with = "json::or_default")]
    pub model: Option<String>,
    /// The provider that served.
    #[serde(deserialize_with = "json::or_default")]
    pub provider_name: Option<String>,
    /// Whether the request was cancelled.
    #[serde(deserialize_with = "json::or_default")]
    pub cancelled: Option<bool>,
    /// Why the answer ended.
    #[serde(deserialize_with = "json::or_default")]
    pub finish_reason: Option<String>,
    /// Whether the answer was streamed.
    #[serde(deserialize_with = "json::or_default")]
    pub streamed: Option<bool>,
    /// RFC 3339.
    #[serde(deserialize_with = "json::or_default")]
    pub created_at: Option<String>,
}

impl Generation {
    /// Whether it does not say what was charged.
    pub const fn reports_no_cost(&self) -> bool {
        self.total_cost.is_none() && self.usage.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_its_digits_and_later_fields_are_ignored() {
        let generation: Generation = serde_json::from_str(
            r#"{"id":"gen-1","total_cost":7.1e-05,"upstream_inference_cost":null,"usage":0.000071,"is_byok":false,
                "native_tokens_prompt":10,"native_tokens_completion":20,"native_tokens_reasoning":null,"model":"a/b",
                "provider_name":"Groq","cancelled":true,"streamed":true,"finish_reason":7,"provider_responses":[{"x":1}]}"#,
        )
        .unwrap();
        assert_eq!(
            generation.total_cost.as_ref().map(NumberText::as_str),
            Some("7.1e-05")
        );
        assert_eq!(generation.upstream_inference_cost, None);
        assert_eq!(
            (
                generation.native_tokens_prompt,
                generation.native_tokens_reasoning
            ),
            (Some(10), None)
        );
        assert_eq!(
            (generation.cancelled, generation.finish_reason),
            (Some(true), None)
        );
    }

    #[test]
    fn money_and_tokens_that_can_not_be_read_are_an_error_not_a_zero() {
        for body in [
            r#"{"total_cost":"a lot"}"#,
            r#"{"native_tokens_prompt":-1}"#,
            r#"{"is_byok":"yes"}"#,
        ] {
            assert!(serde_json::from_str::<Generation>(body).is_err(), "{body}");
        }
    }
}
