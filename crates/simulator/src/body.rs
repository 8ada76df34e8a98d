//! The bodies of answers: ready ones at once, others step by step.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::meter::{FailedOutput, Meter};

/// The connection is to be cut in the middle of the answer.
#[derive(Debug, thiserror::Error)]
#[error("the simulated upstream breaks off")]
pub(crate) struct BrokenOff;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum SimulatedBody {
    /// Everything at once, with its length.
    Whole(Bytes),
    /// Everything at once, as a stream whose length isn't told.
    Streamed(Bytes),
    /// Step by step.
    Scripted(Box<ScriptedBody>),
}

impl SimulatedBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(bytes.into())
    }
}

/// One step of a script.
#[derive(Debug)]
pub(crate) enum Step {
    /// Bytes that carry so many output tokens.
    Send {
        bytes: Bytes,
        tokens: u64,
    },
    /// The same chunk several times, with a wait before each; `tokens` is what all of them carry.
    Repeat {
        bytes: Bytes,
        times: u32,
        pause: Duration,
        tokens: u64,
    },
    Pause(Duration),
    /// The generation is complete and booked.
    Complete,
    /// The generation failed and is booked.
    Fail(FailedOutput),
    /// What was sent so far is written.
    Flush,
    /// The connection is cut.
    Break,
    /// Nothing happens any more.
    Hang,
}

/// A body that follows a script. Dropped before its generation ended, it books a cancellation.
#[derive(Debug)]
pub(crate) struct ScriptedBody {
    steps: VecDeque<Step>,
    meter: Meter,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Bytes that are due, of which at most `cut` go at a time.
    due: Bytes,
    cut: usize,
    /// A piece has just gone: let it be written before the next.
    flush: bool,
}

impl ScriptedBody {
    /// `cut` is the size of the pieces in which bytes are written; 0 leaves them whole.
    pub(crate) fn new(steps: VecDeque<Step>, cut: u32, meter: Meter) -> Self {
        Self {
            steps,
            meter,
            waiting: None,
            due: Bytes::new(),
            cut: match cut {
                0 => usize::MAX,
                cut => usize::try_from(cut).unwrap_or(usize::MAX),
            },
            flush: false,
        }
    }

    fn next_piece(&mut self) -> Bytes {
        self.flush = self.cut < usize::MAX;
        let length = self.due.len().min(self.cut);
        self.due.split_to(length)
    }

    fn wait(&mut self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        match &mut self.waiting {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + pause),
            none => *none = Some(Box::pin(tokio::time::sleep(pause))),
        }
    }

    /// Takes the next step that makes bytes due or starts a wait.
    fn advance(&mut self, step: Step) -> Advance {
        match step {
            Step::Send { bytes, tokens } => {
                self.meter.produce(tokens);
                self.due = bytes;
            }
            Step::Pause(pause) => self.wait(pause),
            Step::Repeat {
                bytes,
                times,
                pause,
                tokens,
            } => self.repeat(bytes, times, pause, tokens),
            Step::Complete => self.meter.complete(),
            Step::Fail(output) => self.meter.fail(200, output),
            Step::Flush => return Advance::Flush,
            Step::Break => return Advance::Break,
            Step::Hang => {
                self.steps.push_front(Step::Hang);
                return Advance::Hang;
            }
        }
        Advance::Continue
    }

    /// One chunk now (after its wait), the rest as a shorter repetition.
    fn repeat(&mut self, bytes: Bytes, times: u32, pause: Duration, tokens: u64) {
        let Some(rest) = times.checked_sub(1) else {
            return;
        };
        let now = tokens / u64::from(times);
        if rest > 0 {
            self.steps.push_front(Step::Repeat {
                bytes: bytes.clone(),
                times: rest,
                pause,
                tokens: tokens - now,
            });
        }
        self.steps.push_front(Step::Send { bytes, tokens: now });
        self.wait(pause);
    }
}

enum Advance {
    Continue,
    Flush,
    Break,
    Hang,
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let body = self.get_mut();
        // The connection writes what it has when the body has nothing more for the moment.
        if std::mem::take(&mut body.flush) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Some(sleep) = &mut body.waiting
                && !sleep.is_elapsed()
            {
                ready!(sleep.as_mut().poll(context));
            }
            if !body.due.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(body.next_piece()))));
            }
            let Some(step) = body.steps.pop_front() else {
                return Poll::Ready(None);
            };
            match body.advance(step) {
                Advance::Continue => {}
                Advance::Flush => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Advance::Break => return Poll::Ready(Some(Err(BrokenOff))),
                Advance::Hang => return Poll::Pending,
            }
        }
    }
}

impl Body for SimulatedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) | Self::Streamed(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Scripted(script) => Pin::new(script.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) | Self::Streamed(bytes) => bytes.is_empty(),
            Self::Scripted(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Streamed(_) | Self::Scripted(_) => SizeHint::default(),
        }
    }
}
