//! What the simulated upstream speaks, and how strictly it reads.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::errors::ApiError;

/// Whose API it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaks {
    /// OpenRouter's: costs in usage, an account API, fields that are unknown are ignored.
    #[default]
    OpenRouter,
    /// OpenAI's, as any compatible server has it: tokens and no costs, no account API, unknown fields are refused.
    Compatible,
}

impl Speaks {
    /// What its paths begin with.
    #[must_use]
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::OpenRouter => "/api/v1",
            Self::Compatible => "/v1",
        }
    }
}

/// Fields of a chat request (OpenAI's API reference), and the simulator's own.
const FIELDS: [&str; 35] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
    "x_sim",
];

const MESSAGE_FIELDS: [&str; 8] = [
    "audio",
    "content",
    "function_call",
    "name",
    "refusal",
    "role",
    "tool_call_id",
    "tool_calls",
];

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Refuses what OpenAI's API does not know, in a body and in its messages.
pub(crate) fn check_fields(body: &[u8]) -> Result<(), ApiError> {
    let fields: HashMap<String, &RawValue> =
        serde_json::from_slice(body).map_err(|error| ApiError::bad_request(error.to_string()))?;
    if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(ApiError::unknown_field(name));
    }
    let messages = fields.get("messages").map_or("[]", |raw| raw.get());
    let messages: Vec<HashMap<String, &RawValue>> =
        serde_json::from_str(messages).unwrap_or_default();
    let mut names = messages.iter().flat_map(HashMap::keys);
    if let Some(name) = names.find(|name| !MESSAGE_FIELDS.contains(&name.as_str())) {
        return Err(ApiError::unknown_field(&format!("messages.{name}")));
    }
    Ok(())
}

/// Whether `stream_options` asks for usage.
pub(crate) fn wants_usage(stream_options: Option<&RawValue>) -> bool {
    stream_options
        .and_then(|raw| serde_json::from_str::<StreamOptions>(raw.get()).ok())
        .is_some_and(|options| options.include_usage)
}
