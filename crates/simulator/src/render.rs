//! The bytes of answers: completion objects, stream chunks and usage, as OpenRouter writes them.

use std::io::Write;

use serde_json::{Value, json};

use crate::{
    answer::{Answer, Content},
    directives::{Directives, UsageMode},
    money::Picodollars,
    speaks::Speaks,
    tariff::Tokens,
};

/// Words and reasoning steps that are spelled out; further tokens are only counted.
pub(crate) const MAXIMUM_WORDS: u64 = 4096;
/// Bytes with which a request may ask to fill an answer.
const MAXIMUM_PADDING: usize = 64 * 1024 * 1024;
/// The comment that keeps connections alive.
pub(crate) const fn comment(speaks: Speaks) -> &'static [u8] {
    match speaks {
        Speaks::OpenRouter => b": OPENROUTER PROCESSING\n\n",
        Speaks::Compatible => b": ping\n\n",
    }
}
/// The end of a stream.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// A JSON string with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// So many output tokens as text.
pub(crate) fn words(tokens: u64) -> String {
    let count = usize::try_from(tokens.min(MAXIMUM_WORDS)).unwrap_or(0);
    let mut text = " word".repeat(count);
    if count > 0 {
        text.remove(0);
    }
    text
}

/// The `usage` object for these tokens.
pub(crate) fn usage(answer: &Answer, directives: &Directives, tokens: &Tokens) -> String {
    if answer.speaks == Speaks::Compatible {
        return counts(tokens, directives);
    }
    let charge = answer.charging.charge(tokens);
    let (cost, inference) = match (&directives.byok, &directives.cost, directives.usage) {
        (Some(byok), _, _) => (byok.fee.clone(), byok.upstream.clone()),
        (None, Some(verbatim), _) => (verbatim.clone(), verbatim.clone()),
        (None, None, UsageMode::NullCost) => ("null".to_owned(), "null".to_owned()),
        (None, None, _) => (charge.cost.to_string(), charge.cost.to_string()),
    };
    let (prompt_part, completion_part) = if charge.cost == Picodollars::ZERO {
        (Picodollars::ZERO, Picodollars::ZERO)
    } else {
        (
            answer.tariff.prompt_cost(tokens),
            answer.tariff.completion_cost(tokens),
        )
    };
    format!(
        "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},\"cost\":{cost},\"is_byok\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{},\"cache_write_tokens\":{},\"audio_tokens\":0,\
         \"video_tokens\":0}},\"cost_details\":{{\"upstream_inference_cost\":{inference},\
         \"upstream_inference_prompt_cost\":{prompt_part},\
         \"upstream_inference_completions_cost\":{completion_part}}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":{},\"image_tokens\":{},\"audio_tokens\":0}}}}",
        tokens.prompt,
        tokens.completion,
        tokens.prompt + tokens.completion,
        directives.byok.is_some(),
        tokens.cached,
        tokens.cache_write,
        tokens.reasoning,
        tokens.image,
    )
}

/// The `usage` object of a compatible server: counts, and what cost it was told to claim.
fn counts(tokens: &Tokens, directives: &Directives) -> String {
    let claimed = directives
        .cost
        .as_ref()
        .map_or_else(String::new, |cost| format!(",\"cost\":{cost}"));
    format!(
        "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{}{claimed},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":{},\"audio_tokens\":0,\
         \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
        tokens.prompt,
        tokens.completion,
        tokens.prompt + tokens.completion,
        tokens.cached,
        tokens.reasoning,
    )
}

/// A requested size, within the bound.
fn padding(bytes: u32) -> usize {
    usize::try_from(bytes)
        .unwrap_or(MAXIMUM_PADDING)
        .min(MAXIMUM_PADDING)
}

/// A data URL of about so many bytes.
fn image_url(bytes: u32) -> String {
    let length = padding(bytes);
    format!(
        "data:image/png;base64,{}",
        "iVBORw0K".repeat(length.div_ceil(8))
    )
}

/// `images` as it stands in messages and deltas.
pub(crate) fn images(bytes: u32) -> String {
    format!(
        "[{{\"type\":\"image_url\",\"image_url\":{{\"url\":\"{}\"}},\"index\":0}}]",
        image_url(bytes)
    )
}

/// The whole completion object. `failure` makes its choice one that failed.
pub(crate) fn completion(
    answer: &Answer,
    directives: &Directives,
    failure: Option<&Value>,
) -> Vec<u8> {
    let finish_reason = match failure {
        Some(_) => "error",
        None => answer.finish_reason,
    };
    let mut body = Vec::with_capacity(1024);
    body.extend(std::iter::repeat_n(
        b'\n',
        padding(directives.leading_whitespace),
    ));
    let error = failure.map_or_else(String::new, |error| format!("\"error\":{error},"));
    let usage = match directives.usage {
        UsageMode::None => String::new(),
        _ => format!(",\"usage\":{}", usage(answer, directives, &answer.tokens)),
    };
    let (provider, native_reason) = by_openrouter(answer, finish_reason);
    let written = write!(
        body,
        "{{\"id\":\"{}\",{provider}\"model\":{},\"object\":\"chat.completion\",\"created\":{},\
         \"choices\":[{{{error}\"logprobs\":null,\"finish_reason\":\"{finish_reason}\",\
         {native_reason}\"index\":0,\"message\":{}}}],\
         \"system_fingerprint\":null,\"service_tier\":null{usage}}}",
        answer.id,
        quoted(&answer.model),
        answer.created,
        message(answer, directives),
    );
    debug_assert!(written.is_ok(), "a vector takes every byte");
    body
}

/// The members that only OpenRouter's answers have: who provides, and the provider's own finish reason.
fn by_openrouter(answer: &Answer, finish_reason: &str) -> (String, String) {
    match answer.speaks {
        Speaks::OpenRouter => (
            format!("\"provider\":{},", quoted(&answer.provider)),
            format!("\"native_finish_reason\":\"{finish_reason}\","),
        ),
        Speaks::Compatible => (String::new(), String::new()),
    }
}

fn message(answer: &Answer, directives: &Directives) -> String {
    let (content, calls) = match &answer.content {
        Content::Words => {
            let count = answer.tokens.completion - answer.tokens.reasoning;
            (quoted(&words(count)), String::new())
        }
        Content::Text(text) => (quoted(text), String::new()),
        Content::ToolCall { name, arguments } => {
            let call = json!([{
                "index": 0, "id": call_id(answer), "type": "function",
                "function": { "name": name, "arguments": arguments },
            }]);
            ("null".to_owned(), format!(",\"tool_calls\":{call}"))
        }
    };
    if answer.speaks == Speaks::Compatible {
        return format!(
            "{{\"role\":\"assistant\",\"content\":{content},\"refusal\":null,\"annotations\":[]{calls}}}"
        );
    }
    let reasoning = match answer.tokens.reasoning {
        0 => "\"reasoning\":null".to_owned(),
        tokens => {
            let text = words(tokens);
            let details = json!([{ "type": "reasoning.text", "text": text, "format": "unknown", "index": 0 }]);
            format!(
                "\"reasoning\":{},\"reasoning_details\":{details}",
                quoted(&text)
            )
        }
    };
    let images = match directives.event_bytes {
        0 => String::new(),
        bytes => format!(",\"images\":{}", images(bytes)),
    };
    format!(
        "{{\"role\":\"assistant\",\"content\":{content},\"refusal\":null,{reasoning}{calls}{images}}}"
    )
}

/// The id of the answer's tool call.
pub(crate) fn call_id(answer: &Answer) -> String {
    format!("call_{}", answer.id.rsplit('-').next().unwrap_or_default())
}

/// How a chunk of a stream ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChunkEnd<'a> {
    pub(crate) finish_reason: Option<&'a str>,
    pub(crate) usage: Option<&'a str>,
}

/// Writes the chunks of one stream; what they share is written once.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    head: String,
    speaks: Speaks,
}

impl ChunkWriter {
    pub(crate) fn new(answer: &Answer) -> Self {
        let (provider, _) = by_openrouter(answer, "");
        let head = format!(
            "data: {{\"id\":\"{}\",{provider}\"model\":{},\"object\":\"chat.completion.chunk\",\"created\":{},\
             \"choices\":[",
            answer.id,
            quoted(&answer.model),
            answer.created,
        );
        Self {
            head,
            speaks: answer.speaks,
        }
    }

    /// An event with one choice.
    pub(crate) fn chunk(&self, delta: &str, end: ChunkEnd<'_>) -> Vec<u8> {
        let mut event = Vec::with_capacity(self.head.len() + delta.len() + 160);
        event.extend_from_slice(self.head.as_bytes());
        event.extend_from_slice(b"{\"index\":0,\"delta\":");
        event.extend_from_slice(delta.as_bytes());
        match end.finish_reason {
            _ if self.speaks == Speaks::Compatible => {
                let reason = end.finish_reason.map_or_else(|| "null".to_owned(), quoted);
                let end = format!(",\"logprobs\":null,\"finish_reason\":{reason}}}]");
                event.extend_from_slice(end.as_bytes());
            }
            None => event.extend_from_slice(
                b",\"finish_reason\":null,\"native_finish_reason\":null,\"logprobs\":null}]",
            ),
            Some(reason) => {
                for part in [
                    ",\"finish_reason\":\"",
                    reason,
                    "\",\"native_finish_reason\":\"",
                    reason,
                    "\",\"logprobs\":null}]",
                ] {
                    event.extend_from_slice(part.as_bytes());
                }
            }
        }
        Self::close(event, end.usage)
    }

    /// An event without choices that carries the usage.
    pub(crate) fn without_choices(&self, usage: &str) -> Vec<u8> {
        let mut event = self.head.clone().into_bytes();
        event.push(b']');
        Self::close(event, Some(usage))
    }

    /// The error event of a stream that fails: `choice` says what its only choice holds beside the finish reason.
    pub(crate) fn failure(&self, error: &Value, place: ErrorPlace) -> Vec<u8> {
        let choice = "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":\"error\",\
                      \"native_finish_reason\":\"error\"";
        match place {
            ErrorPlace::Event => {
                format!("{}{choice}}}],\"error\":{error}}}\n\n", self.head)
            }
            ErrorPlace::Choice => {
                format!("{}{choice},\"error\":{error}}}]}}\n\n", self.head)
            }
        }
        .into_bytes()
    }

    fn close(mut event: Vec<u8>, usage: Option<&str>) -> Vec<u8> {
        if let Some(usage) = usage {
            event.extend_from_slice(b",\"usage\":");
            event.extend_from_slice(usage.as_bytes());
        }
        event.extend_from_slice(b"}\n\n");
        event
    }
}

/// Where an error stands in a stream's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorPlace {
    /// Beside `choices`.
    Event,
    /// Inside the choice.
    Choice,
}
