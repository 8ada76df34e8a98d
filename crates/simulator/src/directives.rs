//! `x_sim`: what a request asks of the simulator itself. Every field is optional; an unknown one is refused.

use serde::Deserialize;

/// The object under `x_sim` in a chat request. Times are milliseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Directives {
    pub(crate) prompt_tokens: Option<u32>,
    /// Output tokens, reasoning included; still cut by the request's own limit.
    pub(crate) completion_tokens: Option<u32>,
    pub(crate) cached_tokens: u32,
    pub(crate) cache_write_tokens: u32,
    pub(crate) reasoning_tokens: u32,
    pub(crate) image_tokens: u32,
    /// The wait before each chunk.
    pub(crate) chunk_ms: u32,
    /// The wait before the answer.
    pub(crate) first_ms: u32,
    /// Into how many chunks the content is cut.
    pub(crate) chunks: Option<u32>,
    /// Printed verbatim as `usage.cost`. Billed as it reads; what isn't an exact amount is billed as nothing.
    pub(crate) cost: Option<String>,
    pub(crate) byok: Option<Byok>,
    pub(crate) usage: UsageMode,
    pub(crate) line_end: LineEnd,
    /// Write the body in pieces of so many bytes.
    pub(crate) cut: u32,
    /// Add one event (or one image in the message) of about so many bytes.
    pub(crate) event_bytes: u32,
    /// Compress the body, although nobody asked for it.
    pub(crate) gzip: bool,
    /// So many line feeds before the JSON of an answer that isn't streamed.
    pub(crate) leading_whitespace: u32,
    pub(crate) error: Option<FaultDirective>,
    /// Answer under this name; priced as this model where the catalog has it.
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    /// What to say.
    pub(crate) text: Option<String>,
    /// Call the first tool although `tool_choice` leaves it open.
    pub(crate) tool_call: bool,
    /// When the generation record appears, counted from the end of the generation.
    pub(crate) generation_delay_ms: Option<u32>,
    pub(crate) generation_never: bool,
}

/// The request runs on a provider key of the account's owner: amounts are decimal texts in USD.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Byok {
    /// What the upstream charges: `usage.cost`.
    pub(crate) fee: String,
    /// What the provider charges: `cost_details.upstream_inference_cost`.
    pub(crate) upstream: String,
}

/// Where the usage stands in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UsageMode {
    /// A chunk after the finish chunk, whose choices repeat the finish reason (recorded in 2026).
    #[default]
    Normal,
    /// As `normal`, with a null finish reason (recorded in 2025).
    NullFinish,
    /// A last chunk with empty choices, as documented.
    EmptyChoices,
    /// The same usage chunk twice.
    Repeated,
    /// Usage chunks that grow; the last one is right.
    Several,
    /// No usage anywhere.
    None,
    /// In the first chunk only.
    FirstChunk,
    /// In the finish chunk only.
    FinishChunk,
    /// `cost` is null; the generation record has it.
    NullCost,
    /// `cost` is 0, and nothing is billed.
    ZeroCost,
}

/// How lines of an event stream end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LineEnd {
    #[default]
    Lf,
    Crlf,
    Cr,
}

/// A fault on request: its name alone, or an object that says when it strikes.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "FaultForm")]
pub(crate) struct FaultDirective {
    pub(crate) kind: Fault,
    /// Strike after so many chunks of content (`mid_stream`, `in_choice`, `reset`, `hang`, `half_event`).
    pub(crate) after: Option<u32>,
    /// Strike only when this master key is used.
    pub(crate) only_key: Option<String>,
    /// Strike only the first so many requests that carry the same `attempt_key`.
    pub(crate) first_attempts: Option<u32>,
    pub(crate) attempt_key: Option<String>,
    /// Whether what was produced is billed all the same; each fault has its default.
    pub(crate) billed: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FaultForm {
    Name(Fault),
    Full(FullFault),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullFault {
    kind: Fault,
    after: Option<u32>,
    only_key: Option<String>,
    first_attempts: Option<u32>,
    attempt_key: Option<String>,
    billed: Option<bool>,
}

impl From<Fault> for FaultDirective {
    /// It strikes whenever it can.
    fn from(kind: Fault) -> Self {
        Self {
            kind,
            after: None,
            only_key: None,
            first_attempts: None,
            attempt_key: None,
            billed: None,
        }
    }
}

impl From<FaultForm> for FaultDirective {
    fn from(form: FaultForm) -> Self {
        let full = match form {
            FaultForm::Full(full) => full,
            FaultForm::Name(kind) => return kind.into(),
        };
        Self {
            kind: full.kind,
            after: full.after,
            only_key: full.only_key,
            first_attempts: full.first_attempts,
            attempt_key: full.attempt_key,
            billed: full.billed,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Fault {
    /// The key is unknown.
    #[serde(rename = "status:401")]
    Unauthorized,
    /// The account has no credit.
    #[serde(rename = "status:402")]
    NoCredit,
    /// The key has spent its limit.
    #[serde(rename = "status:403")]
    KeyLimit,
    #[serde(rename = "status:408")]
    Timeout,
    /// The platform's own rate limit.
    #[serde(rename = "status:429")]
    RateLimit,
    /// A provider's rate limit, passed on.
    #[serde(rename = "status:429_provider")]
    ProviderRateLimit,
    #[serde(rename = "status:500")]
    Server,
    #[serde(rename = "status:502")]
    ProviderDown,
    #[serde(rename = "status:503")]
    Overloaded,
    /// Status 200, and an error as the body or as the first event.
    #[serde(rename = "in_200")]
    InBody,
    /// Status 200, and an error inside a choice, beside partial content.
    #[serde(rename = "in_choice")]
    InChoice,
    /// An error event in the middle of a stream (not streamed: as `in_200`).
    #[serde(rename = "mid_stream")]
    MidStream,
    /// The connection closes, before the answer or (with `after`) in the middle of it.
    #[serde(rename = "reset")]
    Reset,
    /// Silence, before the answer or (with `after`) in the middle of it.
    #[serde(rename = "hang")]
    Hang,
    /// Status 200 and bytes that aren't JSON.
    #[serde(rename = "garbage")]
    Garbage,
    /// Status 200 and no body.
    #[serde(rename = "empty")]
    Empty,
    /// The stream ends, as if all were well, in the middle of an event.
    #[serde(rename = "half_event")]
    HalfEvent,
    /// A whole stream without `[DONE]`.
    #[serde(rename = "no_done")]
    NoDone,
}

impl Fault {
    /// Whether what was produced is billed when the request doesn't say. An answer that ends with an error isn't
    /// (OpenRouter's zero completion insurance); one that a broken connection cut is.
    pub(crate) fn billed_by_default(self) -> bool {
        matches!(
            self,
            Self::Reset | Self::Hang | Self::HalfEvent | Self::NoDone
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_name_or_an_object() {
        let named: Directives = serde_json::from_str(r#"{"error":"status:429_provider"}"#).unwrap();
        assert_eq!(named.error.unwrap().kind, Fault::ProviderRateLimit);
        let full: Directives =
            serde_json::from_str(r#"{"error":{"kind":"reset","after":3,"only_key":"k"}}"#).unwrap();
        let fault = full.error.unwrap();
        assert_eq!((fault.kind, fault.after), (Fault::Reset, Some(3)));
        assert_eq!(fault.only_key.as_deref(), Some("k"));
    }

    #[test]
    fn typing_errors_are_refused() {
        for text in [
            r#"{"eror":"reset"}"#,
            r#"{"error":"status:999"}"#,
            r#"{"error":{"kind":"reset","when":3}}"#,
            r#"{"usage":"some"}"#,
        ] {
            assert!(serde_json::from_str::<Directives>(text).is_err(), "{text}");
        }
    }
}
