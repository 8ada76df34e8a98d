//! The relay of a stream: events go on as they come, what the upstream says of money stays here, and the end is sent when
//! the usage is durable.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use airouter_billing::disconnect::{DrainCap, Drained, OnDisconnect, ReadShare};
use airouter_billing::event::Ending;
use airouter_billing::price_book::PriceKey;
use bytes::Bytes;
use tokio::time::Sleep;

use crate::abandoned::{Abandoned, hanging_up};
use crate::attempt::OpenStream;
use crate::events::{EventFilter, Passed, StreamEnd};
use crate::gateway::Timeouts;
use crate::metrics::Abandonment;
use crate::problem::Problem;
use crate::route::Surface;
use crate::session::{Session, Settled};
use crate::settle::NotDurable;
use crate::upstream::UpstreamBody;
use crate::wire::request::StreamUsage;
use crate::wire::sse::{self, EventSplitter, Frame, Kind, Position};

/// A comment that keeps the connection alive; readers ignore it.
const HEARTBEAT: Bytes = Bytes::from_static(b": AIROUTER PROCESSING\n\n");

/// As what a plan names compatible servers among providers.
const COMPATIBLE: &str = "compatible";

/// How the client wants its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) surface: Surface,
    pub(crate) usage: StreamUsage,
}

/// The body of a streamed answer.
pub struct Relay {
    out: VecDeque<Bytes>,
    stage: Stage,
}

enum Stage {
    Streaming(Box<Active>),
    Ending(Closing),
    Finished,
}

/// The usage is being committed; the end waits for it, and so does the event that tells of the usage: who has read the
/// price, like a router that resells this one's answers, may rely on it.
struct Closing {
    commit: Pin<Box<dyn Future<Output = Result<(), NotDurable>> + Send>>,
    usage: Option<Bytes>,
    surface: Surface,
}

/// A stream that runs.
struct Active {
    body: UpstreamBody,
    splitter: EventSplitter,
    filter: EventFilter,
    session: Session,
    wish: Wish,
    timeouts: Timeouts,
    tick: Pin<Box<Sleep>>,
    last_sent: Instant,
    last_received: Instant,
    /// What came from the upstream so far.
    received: Drained,
}

impl Relay {
    pub(crate) fn new(session: Session, stream: OpenStream, wish: Wish) -> Self {
        let timeouts = session.gateway.settings.timeouts;
        let now = Instant::now();
        let OpenStream {
            body,
            splitter,
            first,
        } = stream;
        let mut active = Box::new(Active {
            body,
            splitter,
            filter: EventFilter::default(),
            session,
            wish,
            timeouts,
            tick: Box::pin(tokio::time::sleep(
                timeouts.heartbeat.min(timeouts.upstream_idle),
            )),
            last_sent: now,
            last_received: now,
            received: Drained::default(),
        });
        let mut out = VecDeque::new();
        let mut end = None;
        if let Some(frame) = first {
            active.received.bytes = length_of(&frame);
            let Active {
                filter, session, ..
            } = &mut *active;
            end = match filter.pass(frame, session, &mut out) {
                Passed::On => active.pass_frames(&mut out),
                Passed::End(end) => Some(end),
            };
        }
        match end {
            None => Self {
                out,
                stage: Stage::Streaming(active),
            },
            Some(end) => {
                let stage = Stage::Ending(active.finish(end, &mut out));
                Self { out, stage }
            }
        }
    }

    /// The next bytes for the client.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                if let Stage::Streaming(active) = &mut self.stage {
                    active.note_sent();
                }
                return Poll::Ready(Some(bytes));
            }
            match &mut self.stage {
                Stage::Finished => return Poll::Ready(None),
                Stage::Ending(ending) => {
                    let durable = std::task::ready!(ending.commit.as_mut().poll(context));
                    if durable.is_err() {
                        self.out
                            .push_back(Problem::NotDurable.into_event(ending.surface));
                    } else {
                        self.out.extend(ending.usage.take());
                        self.out.push_back(Bytes::from_static(sse::DONE));
                    }
                    self.stage = Stage::Finished;
                }
                Stage::Streaming(active) => {
                    let end = std::task::ready!(active.poll(context, &mut self.out));
                    if let Some(end) = end {
                        self.end(end);
                    }
                }
            }
        }
    }

    fn end(&mut self, end: StreamEnd) {
        if let Stage::Streaming(active) = std::mem::replace(&mut self.stage, Stage::Finished) {
            self.stage = Stage::Ending(active.finish(end, &mut self.out));
        }
    }
}

/// The client has gone: what the upstream bills is found out all the same.
impl Drop for Relay {
    fn drop(&mut self) {
        if let Stage::Streaming(active) = std::mem::replace(&mut self.stage, Stage::Finished) {
            active
                .session
                .gateway
                .tracker
                .clone()
                .spawn(active.client_gone());
        }
    }
}

impl Active {
    /// Moves events from the upstream to `out`. Ready with `None` when there is something to send, with an end when the
    /// stream has ended.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        out: &mut VecDeque<Bytes>,
    ) -> Poll<Option<StreamEnd>> {
        loop {
            match self.body.poll_bytes(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.last_received = Instant::now();
                    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    self.received.bytes = self.received.bytes.saturating_add(length);
                    self.splitter.feed(bytes);
                    let end = self.pass_frames(out);
                    if end.is_some() || !out.is_empty() {
                        return Poll::Ready(end);
                    }
                }
                // Once all of the answer is there it does not matter how the connection ends.
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Some(self.filter.end_without_done()));
                }
                Poll::Ready(None) => return Poll::Ready(Some(self.pass_rest(out))),
                Poll::Pending => {
                    std::task::ready!(self.tick.as_mut().poll(context));
                    if let Some(end) = self.ticked(out) {
                        return Poll::Ready(Some(end));
                    }
                    if !out.is_empty() {
                        return Poll::Ready(None);
                    }
                }
            }
        }
    }

    fn pass_frames(&mut self, out: &mut VecDeque<Bytes>) -> Option<StreamEnd> {
        while let Some(frame) = self.splitter.next_frame() {
            if carries_data(&frame) {
                self.received.events = self.received.events.saturating_add(1);
            }
            if let Passed::End(end) = self.filter.pass(frame, &mut self.session, out) {
                return Some(end);
            }
        }
        None
    }

    /// The upstream closed: what it left unfinished still counts. An event without its blank line gets one; if it is only a
    /// part of an event, the stream has failed.
    fn pass_rest(&mut self, out: &mut VecDeque<Bytes>) -> StreamEnd {
        self.filter.parse_everything();
        while let Some(frame) = self.splitter.finish() {
            let frame = match frame {
                Frame::Event { kind, bytes } => Frame::Event {
                    kind,
                    bytes: completed(&bytes),
                },
                piece @ Frame::Piece { .. } => piece,
            };
            if let Passed::End(end) = self.filter.pass(frame, &mut self.session, out) {
                return end;
            }
        }
        self.filter.end_without_done()
    }

    fn ticked(&mut self, out: &mut VecDeque<Bytes>) -> Option<StreamEnd> {
        let now = Instant::now();
        if now.duration_since(self.last_received) >= self.timeouts.upstream_idle {
            return Some(StreamEnd::Broken);
        }
        let quiet_for = now.duration_since(self.last_sent);
        if quiet_for >= self.timeouts.heartbeat && !self.filter.is_inside_event() {
            out.push_back(HEARTBEAT);
            self.last_sent = now;
        }
        let next_heartbeat = self.last_sent + self.timeouts.heartbeat;
        let idle_end = self.last_received + self.timeouts.upstream_idle;
        // A heartbeat that is due inside an event waits for its end.
        let least = now + self.timeouts.heartbeat / 8;
        self.tick
            .as_mut()
            .reset(next_heartbeat.min(idle_end).max(least).into());
        None
    }

    fn note_sent(&mut self) {
        self.last_sent = Instant::now();
        if self.session.moments.client_first.is_none() {
            self.session.moments.client_first = Some(self.last_sent);
        }
    }

    /// Settles, and writes what comes before the end of the stream.
    fn finish(self, end: StreamEnd, out: &mut VecDeque<Bytes>) -> Closing {
        let Self {
            filter,
            mut session,
            wish,
            ..
        } = self;
        let now = Instant::now();
        session.moments.upstream_last = Some(now);
        session.moments.client_first.get_or_insert(now);
        let surface = wish.surface;
        let ending = match end {
            StreamEnd::Complete => Ending::Complete,
            StreamEnd::Failed | StreamEnd::Broken => Ending::UpstreamFailed,
        };
        if let Some(problem) = end.problem() {
            out.push_back(problem.into_event(surface));
        }
        let Settled { price, commit } = session.settle(ending);
        let price = price.filter(|_| ending == Ending::Complete);
        Closing {
            commit: Box::pin(commit.durable()),
            usage: price.and_then(|price| filter.usage_event(price, wish)),
            surface,
        }
    }

    /// Cancels the upstream or reads on, by the plan's policy; then settles.
    async fn client_gone(mut self: Box<Self>) {
        let before = self.received;
        let provider = match &self.session.suited {
            // It tells its usage at the end: what is cancelled is a loss.
            Some(_) => COMPATIBLE,
            None => self.session.meter.provider.as_deref().unwrap_or_default(),
        };
        let policy = &self.session.plan.policy.disconnect;
        let how = match policy.decide(provider, hanging_up(provider)) {
            OnDisconnect::Cancel => Abandonment::Cancelled,
            OnDisconnect::Drain => self.drain_within_bounds().await,
        };
        if how == Abandonment::Capped {
            tracing::info!(request = %self.session.id(), "an answer nobody reads was cut off");
        }
        let unread = self.received.bytes.saturating_sub(before.bytes);
        let Self {
            mut session, body, ..
        } = *self;
        // Where it was not read to its end, this cancels it.
        drop(body);
        session.abandoned = Some(Abandoned {
            how,
            share: ReadShare {
                read: before.bytes,
                unread,
            },
        });
        settle_quietly(session).await;
    }

    /// Reads on to the end, or until a cap of the plan's.
    async fn drain_within_bounds(&mut self) -> Abandonment {
        let cap = self.session.plan.policy.disconnect.cap;
        let longest = cap.seconds.map_or(self.timeouts.drain, Duration::from_secs);
        match tokio::time::timeout(longest, self.drain(cap)).await {
            Ok(how) => how,
            Err(_) => Abandonment::Capped,
        }
    }

    async fn drain(&mut self, cap: DrainCap) -> Abandonment {
        let prices = &self.session.entry.prices;
        let token_price = prices.dearest(&[PriceKey::Completion, PriceKey::Reasoning]);
        let before = self.received;
        let mut out = VecDeque::new();
        loop {
            let step = std::future::poll_fn(|context| self.poll(context, &mut out)).await;
            out.clear();
            if step.is_some() {
                return Abandonment::Drained;
            }
            let drained = Drained {
                bytes: self.received.bytes.saturating_sub(before.bytes),
                events: self.received.events.saturating_sub(before.events),
            };
            if cap.is_reached(drained, token_price) {
                return Abandonment::Capped;
            }
        }
    }
}

/// Whether a frame is, or ends, an event with data.
fn carries_data(frame: &Frame) -> bool {
    match frame {
        Frame::Event { kind, .. } => *kind == Kind::Data,
        Frame::Piece { position, .. } => *position == Position::End,
    }
}

fn length_of(frame: &Frame) -> u64 {
    let (Frame::Event { bytes, .. } | Frame::Piece { bytes, .. }) = frame;
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// An event with the blank line that it lacks.
fn completed(event: &Bytes) -> Bytes {
    [event.trim_ascii_end(), b"\n\n"].concat().into()
}

async fn settle_quietly(session: Session) {
    let id = session.id();
    if session
        .settle(Ending::ClientGone)
        .commit
        .durable()
        .await
        .is_err()
    {
        tracing::error!(request = %id, "the usage of an answer could not be made durable");
    }
}
