//! What of a stream's events passes to the client: content as it came, usage and errors never as the upstream says them.

use std::collections::VecDeque;
use std::sync::Arc;

use airouter_billing::Nanos;
use bytes::Bytes;

use crate::meter::Finality;
use crate::problem::Problem;
use crate::relay::Wish;
use crate::route::Surface;
use crate::session::Session;
use crate::wire::chunk::{self, Choices, ChunkFacts, FinishReason, Inspected, Interest};
use crate::wire::json_scan::Segment;
use crate::wire::oversize::OversizeFilter;
use crate::wire::request::StreamUsage;
use crate::wire::shown_model::ShownModel;
use crate::wire::sse::{Frame, Kind, Position, data_event, data_payload};
use crate::wire::usage::{Dialect, rewrite_usage};

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// As it should.
    Complete,
    /// The upstream said that it failed.
    Failed,
    /// The upstream broke off.
    Broken,
}

impl StreamEnd {
    /// What the client is told.
    pub(crate) fn problem(self) -> Option<Problem> {
        match self {
            Self::Complete => None,
            Self::Failed | Self::Broken => Some(Problem::Unavailable { retry_after: None }),
        }
    }
}

/// Whether the stream goes on behind a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    On,
    End(StreamEnd),
}

/// Filters the events of one stream.
#[derive(Debug)]
pub(crate) struct EventFilter {
    interest: Interest,
    finish_reason: FinishReason,
    /// The last event that carried usage, for the usage event at the end.
    usage_event: Option<Bytes>,
    was_usage_passed_with_content: bool,
    oversize: Option<Oversize>,
    /// What the client is told that serves, where that is not the upstream's name.
    shown_model: Option<Arc<ShownModel>>,
}

impl Default for EventFilter {
    fn default() -> Self {
        Self {
            interest: Interest::Identity,
            finish_reason: FinishReason::Unsent,
            usage_event: None,
            was_usage_passed_with_content: false,
            oversize: None,
            shown_model: None,
        }
    }
}

impl EventFilter {
    /// Takes a frame; what of it is for the client goes to `out`.
    pub(crate) fn pass(
        &mut self,
        frame: Frame,
        session: &mut Session,
        out: &mut VecDeque<Bytes>,
    ) -> Passed {
        match frame {
            Frame::Event {
                kind: Kind::Done, ..
            } => Passed::End(StreamEnd::Complete),
            Frame::Event {
                kind: Kind::Comment | Kind::Other,
                ..
            } => Passed::On,
            Frame::Event {
                kind: Kind::Data,
                bytes,
            } => self.pass_data(bytes, session, out),
            Frame::Piece { position, bytes } => self.pass_piece(position, &bytes, session, out),
        }
    }

    /// The upstream closed without `[DONE]`: some intermediaries drop it, which is no failure once the answer was
    /// finished and its usage came.
    pub(crate) fn end_without_done(&self) -> StreamEnd {
        let is_finished = self.finish_reason == FinishReason::Sent && self.usage_event.is_some();
        if is_finished {
            StreamEnd::Complete
        } else {
            StreamEnd::Broken
        }
    }

    /// From now on every event is parsed: what comes may be only a part of one.
    pub(crate) fn parse_everything(&mut self) {
        self.interest = Interest::Identity;
    }

    /// Whether an event in pieces is under way, into which nothing may be put.
    pub(crate) fn is_inside_event(&self) -> bool {
        self.oversize.is_some()
    }

    /// The usage event at the end, with the client's price: on OpenAI's surface only if it was asked for.
    pub(crate) fn usage_event(&self, price: Nanos, wish: Wish) -> Option<Bytes> {
        if wish.surface == Surface::OpenAi && wish.usage == StreamUsage::Omitted {
            return None;
        }
        let event = self.usage_event.as_ref()?;
        let payload = data_payload(event);
        let Inspected::Facts(mut facts) = chunk::inspect(&payload, Interest::Identity) else {
            return None;
        };
        if let Some(shown) = &self.shown_model {
            facts.show_model(shown);
        }
        let dialect = match wish.surface {
            Surface::OpenAi => Dialect::OpenAi,
            Surface::OpenRouter => Dialect::OpenRouter,
        };
        let usage = rewrite_usage(facts.usage?, price.usd(), dialect).ok()?;
        let keeps_its_shape =
            wish.surface == Surface::OpenRouter && !self.was_usage_passed_with_content;
        let chunk = if keeps_its_shape {
            facts.with_usage(&usage)
        } else {
            facts.usage_chunk(&usage)
        };
        Some(data_event(&chunk))
    }

    fn pass_data(
        &mut self,
        event: Bytes,
        session: &mut Session,
        out: &mut VecDeque<Bytes>,
    ) -> Passed {
        let payload = data_payload(&event);
        let mut facts = match chunk::inspect(&payload, self.interest) {
            Inspected::Ordinary => {
                out.push_back(event);
                return Passed::On;
            }
            // What can't be read can't be cleared of what the client must not see, and its SDK could not read it either.
            Inspected::Unreadable => return Passed::End(StreamEnd::Failed),
            Inspected::Facts(facts) => facts,
        };
        self.note_identity(&facts, session);
        let shown_model = self.shown_model.clone();
        if let Some(shown) = &shown_model {
            facts.show_model(shown);
        }
        if let Some(usage) = facts.usage {
            let is_final =
                facts.finish_reason.is_some() || self.finish_reason == FinishReason::Sent;
            let finality = if is_final {
                Finality::Final
            } else {
                Finality::Preliminary
            };
            session.meter.read(usage, finality);
            self.usage_event = Some(event.clone());
        }
        let has_failed = facts.error.is_some() || facts.finish_reason.as_deref() == Some("error");
        if has_failed {
            if facts.choices == Choices::Content && facts.error.is_none() {
                out.push_back(data_event(&facts.without_usage()));
            }
            return Passed::End(StreamEnd::Failed);
        }
        self.pass_facts(&facts, &event, out);
        Passed::On
    }

    fn pass_facts(&mut self, facts: &ChunkFacts<'_>, event: &Bytes, out: &mut VecDeque<Bytes>) {
        let is_passed = facts.is_worth_passing(self.finish_reason);
        if facts.usage.is_some() {
            self.was_usage_passed_with_content = is_passed;
        }
        if !is_passed {
            return;
        }
        if facts.finish_reason.is_some() {
            self.finish_reason = FinishReason::Sent;
        }
        out.push_back(if facts.is_clean() {
            event.clone()
        } else {
            data_event(&facts.without_usage())
        });
    }

    fn note_identity(&mut self, facts: &ChunkFacts<'_>, session: &mut Session) {
        if self.interest == Interest::Usage {
            return;
        }
        let meter = &mut session.meter;
        meter.note_generation(facts.id.as_deref());
        meter.note_server(facts.model.as_deref(), facts.provider.as_deref());
        self.shown_model = session.shown_model().map(Arc::new);
        // A name that must not pass is looked for in every event.
        let is_known = session.meter.generation_id.is_some() && session.meter.provider.is_some();
        if is_known && self.shown_model.is_none() {
            self.interest = Interest::Usage;
        }
        session.note_served();
    }

    /// An event that is too large to be held passes in pieces; what of it must not pass becomes null.
    fn pass_piece(
        &mut self,
        position: Position,
        bytes: &Bytes,
        session: &mut Session,
        out: &mut VecDeque<Bytes>,
    ) -> Passed {
        let mut segments = Vec::new();
        let shown_model = session.shown_model();
        let oversize = self.oversize.get_or_insert_with(|| Oversize {
            filter: match shown_model {
                Some(_) => OversizeFilter::withholding_the_model(),
                None => OversizeFilter::new(),
            },
            has_error: false,
        });
        oversize.filter.feed(bytes, &mut segments);
        for segment in segments {
            match segment {
                Segment::Pass(bytes) => out.push_back(bytes),
                Segment::Field { name, value } => {
                    oversize.note(name, &value, session);
                    out.push_back(replacement(name, shown_model.as_ref()));
                }
                Segment::TooLarge { name } => {
                    out.push_back(replacement(name, shown_model.as_ref()));
                }
            }
        }
        if position != Position::End {
            return Passed::On;
        }
        let has_failed = self
            .oversize
            .take()
            .is_some_and(|oversize| oversize.has_error);
        if has_failed {
            Passed::End(StreamEnd::Failed)
        } else {
            Passed::On
        }
    }
}

/// What stands in place of a value that was withheld.
fn replacement(name: &str, shown_model: Option<&ShownModel>) -> Bytes {
    match shown_model {
        Some(shown) if name == "model" => Bytes::copy_from_slice(shown.value().as_bytes()),
        Some(_) | None => Bytes::from_static(b"null"),
    }
}

/// An event in pieces.
#[derive(Debug)]
struct Oversize {
    filter: OversizeFilter,
    has_error: bool,
}

impl Oversize {
    /// A member that was withheld.
    fn note(&mut self, name: &str, value: &Bytes, session: &mut Session) {
        if value == "null" {
            return;
        }
        match (name, std::str::from_utf8(value)) {
            ("usage", Ok(usage)) => session.meter.read(usage, Finality::Preliminary),
            ("error", _) => self.has_error = true,
            _ => {}
        }
    }
}
