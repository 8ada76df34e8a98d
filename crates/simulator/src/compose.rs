//! Composes whole answers: a stream's events in their order, or one JSON object, with the faults that were asked for.

use std::time::Duration;

use serde_json::json;

use crate::{
    answer::{Answer, Content},
    body::SimulatedBody,
    directives::{Directives, Fault, UsageMode},
    errors::ApiError,
    meter::{FailedOutput, Meter},
    render::{self, ChunkEnd, ChunkWriter, ErrorPlace},
    script::{ScriptWriter, Section},
    speaks::Speaks,
};

/// Chunks into which a request may ask to cut the content.
const MAXIMUM_CHUNKS: u32 = 100_000;
/// How often a waiting answer says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// A fault that strikes after the status was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LateFault {
    pub(crate) kind: Fault,
    /// After so many chunks of content.
    pub(crate) after: u32,
    pub(crate) output: FailedOutput,
}

/// The wait before the first chunk.
pub(crate) fn first_wait(directives: &Directives) -> Duration {
    Duration::from_millis(directives.first_ms.into())
}

fn chunk_wait(directives: &Directives) -> Duration {
    Duration::from_millis(directives.chunk_ms.into())
}

/// How long the whole generation takes.
pub(crate) fn duration(answer: &Answer, directives: &Directives) -> Duration {
    if directives.chunk_ms == 0 {
        return first_wait(directives);
    }
    let chunks: u32 = sections(answer, directives)
        .iter()
        .map(|section| section.times)
        .sum();
    first_wait(directives) + chunk_wait(directives) * chunks
}

/// A streamed answer.
pub(crate) fn stream(
    answer: &Answer,
    directives: &Directives,
    fault: Option<LateFault>,
    meter: Meter,
) -> SimulatedBody {
    let writer = ChunkWriter::new(answer);
    let mut script = ScriptWriter::new(directives);
    let comment = render::comment(answer.speaks);
    script.send(comment, 0);
    wait_alive(&mut script, first_wait(directives), comment);
    let usage = render::usage(answer, directives, &answer.tokens);
    let mode = usage_mode(answer, directives);
    let usage_at = |wanted: UsageMode| (mode == wanted).then_some(usage.as_str());
    let opening = r#"{"role":"assistant","content":""}"#;
    let end = ChunkEnd {
        usage: usage_at(UsageMode::FirstChunk),
        ..ChunkEnd::default()
    };
    script.send(&writer.chunk(opening, end), 0);
    for section in up_to_fault(sections(answer, directives), fault) {
        script.section(&section, chunk_wait(directives));
    }
    if let Some(fault) = fault
        && fault.kind != Fault::NoDone
    {
        strike(&mut script, &writer, answer, fault);
        return script.into_body(meter);
    }
    script.complete();
    let end = ChunkEnd {
        finish_reason: Some(answer.finish_reason),
        usage: usage_at(UsageMode::FinishChunk),
    };
    script.send(&writer.chunk(opening, end), 0);
    send_usage(&mut script, &writer, answer, directives, &usage);
    if fault.is_none() {
        script.send(render::DONE, 0);
    }
    script.into_body(meter)
}

/// Waits, and says every half second that the answer is alive.
fn wait_alive(script: &mut ScriptWriter, wait: Duration, sign: &[u8]) {
    let mut left = wait;
    while left > KEEP_ALIVE {
        script.pause(KEEP_ALIVE);
        script.send(sign, 0);
        left -= KEEP_ALIVE;
    }
    script.pause(left);
}

fn strike(script: &mut ScriptWriter, writer: &ChunkWriter, answer: &Answer, fault: LateFault) {
    match fault.kind {
        Fault::Hang => script.hang(),
        Fault::InChoice | Fault::MidStream => {
            let place = if fault.kind == Fault::InChoice {
                ErrorPlace::Choice
            } else {
                ErrorPlace::Event
            };
            let error = ApiError::provider_down(&answer.provider).inner(answer.speaks);
            script.fail(fault.output);
            script.send(&writer.failure(&error, place), 0);
        }
        Fault::HalfEvent => {
            let event = writer.chunk(r#"{"content":" never whole"}"#, ChunkEnd::default());
            script.fail(fault.output);
            script.send(event.get(..event.len() / 2).unwrap_or_default(), 0);
        }
        _ => {
            script.fail(fault.output);
            script.cut_off();
        }
    }
}

/// Where a stream tells its usage: OpenAI's way, a last chunk without choices, and only if it was asked for.
fn usage_mode(answer: &Answer, directives: &Directives) -> UsageMode {
    match (answer.speaks, directives.usage) {
        (Speaks::OpenRouter, mode) => mode,
        (Speaks::Compatible, _) if !answer.tells_usage => UsageMode::None,
        (Speaks::Compatible, UsageMode::Normal) => UsageMode::EmptyChoices,
        (Speaks::Compatible, mode) => mode,
    }
}

fn send_usage(
    script: &mut ScriptWriter,
    writer: &ChunkWriter,
    answer: &Answer,
    directives: &Directives,
    usage: &str,
) {
    let delta = r#"{"role":"assistant","content":""}"#;
    let repeated = |usage: &str| {
        let end = ChunkEnd {
            finish_reason: Some(answer.finish_reason),
            usage: Some(usage),
        };
        writer.chunk(delta, end)
    };
    match usage_mode(answer, directives) {
        UsageMode::None | UsageMode::FirstChunk | UsageMode::FinishChunk => {}
        UsageMode::Normal | UsageMode::NullCost | UsageMode::ZeroCost => {
            script.send(&repeated(usage), 0);
        }
        UsageMode::NullFinish => {
            let end = ChunkEnd {
                finish_reason: None,
                usage: Some(usage),
            };
            script.send(&writer.chunk(delta, end), 0);
        }
        UsageMode::EmptyChoices => script.send(&writer.without_choices(usage), 0),
        UsageMode::Repeated => {
            script.send(&repeated(usage), 0);
            script.send(&repeated(usage), 0);
        }
        UsageMode::Several => {
            let half = answer.tokens.after(answer.tokens.completion.div_ceil(2));
            script.send(&repeated(&render::usage(answer, directives, &half)), 0);
            script.send(&repeated(usage), 0);
        }
    }
}

/// The content in chunks: reasoning, then what is said, then an image.
fn sections(answer: &Answer, directives: &Directives) -> Vec<Section> {
    let writer = ChunkWriter::new(answer);
    let section = |delta: &str, times: u32, tokens: u64| Section {
        chunk: writer.chunk(delta, ChunkEnd::default()),
        times,
        tokens,
    };
    let mut sections = Vec::new();
    let reasoning = answer.tokens.reasoning;
    if reasoning > 0 {
        let delta = r#"{"role":"assistant","content":"","reasoning":" word","reasoning_details":[{"type":"reasoning.text","text":" word","format":"unknown","index":0}]}"#;
        sections.push(section(delta, few(reasoning), reasoning));
    }
    let tokens = answer.tokens.completion - reasoning;
    let chunks = directives.chunks.unwrap_or(few(tokens)).min(MAXIMUM_CHUNKS);
    match &answer.content {
        _ if chunks == 0 => {}
        Content::Words => {
            let words_a_chunk = (tokens.min(render::MAXIMUM_WORDS) / u64::from(chunks)).max(1);
            let text = render::quoted(&format!(" {}", render::words(words_a_chunk)));
            let delta = format!("{{\"role\":\"assistant\",\"content\":{text}}}");
            sections.push(section(&delta, chunks, tokens));
        }
        Content::Text(text) => {
            let deltas: Vec<String> = fragments(text, chunks)
                .map(|part| {
                    format!(
                        "{{\"role\":\"assistant\",\"content\":{}}}",
                        render::quoted(part)
                    )
                })
                .collect();
            sections.extend(share(&deltas, tokens, section));
        }
        Content::ToolCall { name, arguments } => {
            let deltas = tool_deltas(&render::call_id(answer), name, arguments, chunks);
            sections.extend(share(&deltas, tokens, section));
        }
    }
    if directives.event_bytes > 0 {
        let delta = format!(
            "{{\"role\":\"assistant\",\"content\":\"\",\"images\":{}}}",
            render::images(directives.event_bytes)
        );
        sections.push(section(&delta, 1, 0));
    }
    sections
}

/// As many chunks as tokens, within a bound.
fn few(tokens: u64) -> u32 {
    u32::try_from(tokens.min(render::MAXIMUM_WORDS)).unwrap_or(0)
}

/// One chunk for each delta, over which the tokens are spread evenly.
fn share(
    deltas: &[String],
    tokens: u64,
    section: impl Fn(&str, u32, u64) -> Section,
) -> impl Iterator<Item = Section> {
    let count = u64::try_from(deltas.len()).unwrap_or(u64::MAX).max(1);
    (0_u64..).zip(deltas).map(move |(index, delta)| {
        section(
            delta,
            1,
            tokens * (index + 1) / count - tokens * index / count,
        )
    })
}

/// A text in at most so many parts, cut between characters.
fn fragments(text: &str, parts: u32) -> impl Iterator<Item = &str> {
    let parts = usize::try_from(parts).unwrap_or(usize::MAX).max(1);
    let size = text.len().div_ceil(parts).max(1);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, left) = rest.split_at(rest.ceil_char_boundary(size));
        rest = left;
        Some(part)
    })
}

fn tool_deltas(id: &str, name: &str, arguments: &str, chunks: u32) -> Vec<String> {
    let first = json!({ "role": "assistant", "content": null, "tool_calls": [{
        "index": 0, "id": id, "type": "function", "function": { "name": name, "arguments": "" },
    }]});
    let rest = fragments(arguments, chunks).map(|part| {
        json!({ "role": "assistant", "content": null, "tool_calls": [{
            "index": 0, "function": { "arguments": part },
        }]})
    });
    std::iter::once(first)
        .chain(rest)
        .map(|delta| delta.to_string())
        .collect()
}

fn up_to_fault(sections: Vec<Section>, fault: Option<LateFault>) -> Vec<Section> {
    let Some(fault) = fault.filter(|fault| fault.kind != Fault::NoDone) else {
        return sections;
    };
    let mut left = fault.after;
    let mut kept = Vec::new();
    for mut section in sections {
        let times = section.times.min(left);
        if times == 0 {
            break;
        }
        section.tokens = section.tokens * u64::from(times) / u64::from(section.times);
        section.times = times;
        left -= times;
        kept.push(section);
    }
    kept
}

/// An answer in one JSON object. A slow one sends its status early and whitespace meanwhile.
pub(crate) fn whole(
    answer: &Answer,
    directives: &Directives,
    fault: Option<LateFault>,
    mut meter: Meter,
) -> SimulatedBody {
    let failure = fault
        .filter(|fault| fault.kind == Fault::InChoice)
        .map(|_| ApiError::provider_down(&answer.provider).inner(answer.speaks));
    // What is not billed is not reported as billed either.
    let is_free = fault
        .is_some_and(|fault| fault.kind == Fault::InChoice && fault.output == FailedOutput::Free);
    let free = is_free.then(|| Directives {
        cost: Some("0".to_owned()),
        ..directives.clone()
    });
    let body = render::completion(
        answer,
        free.as_ref().unwrap_or(directives),
        failure.as_ref(),
    );
    let wait = duration(answer, directives);
    let early = wait > KEEP_ALIVE;
    let strikes = fault.filter(|fault| fault.kind != Fault::NoDone);
    if strikes.is_none() && !early && !directives.gzip && directives.cut == 0 {
        meter.complete();
        return SimulatedBody::whole(body);
    }
    let mut script = ScriptWriter::new(directives);
    if early {
        wait_alive(&mut script, wait, b"\n");
    }
    match strikes {
        None => {
            script.complete();
            script.send(&body, 0);
        }
        Some(fault) if fault.kind == Fault::InChoice => {
            script.fail(fault.output);
            script.send(&body, 0);
        }
        Some(fault) => {
            let half = body.get(..body.len() / 2).unwrap_or_default();
            script.send(half, 0);
            if fault.kind == Fault::Hang {
                script.hang();
            } else {
                script.fail(fault.output);
                script.cut_off();
            }
        }
    }
    script.into_body(meter)
}

/// Whether a non-streamed answer is ready so soon that its status waits for it.
pub(crate) fn short_wait(answer: &Answer, directives: &Directives) -> Option<Duration> {
    let wait = duration(answer, directives);
    (!wait.is_zero() && wait <= KEEP_ALIVE).then_some(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fragments_are_the_text(text in ".{0,60}", parts in 1_u32..80) {
            let all: Vec<&str> = fragments(&text, parts).collect();
            prop_assert_eq!(all.concat(), text.as_str());
            prop_assert!(all.len() <= usize::try_from(parts).unwrap());
        }
    }
}
