//! What a load has shown: counts, latencies, whole answers.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{LoadError, WholeAnswers};

/// The longest latency that is told apart: an hour.
const LONGEST_MICROSECONDS: u64 = 3_600_000_000;

/// An answer that was received whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WholeAnswer {
    /// The generation's id.
    pub id: String,
    /// `usage.cost` as it was written, if it was there.
    pub cost: Option<String>,
    /// Whether it came as a stream.
    pub streamed: bool,
}

/// Latencies of whole answers in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        }
    }
}

/// The result of a load.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// Requests that were sent or tried.
    pub requests: u64,
    /// Answers that were received whole.
    pub whole: u64,
    /// Answers by HTTP status, whole or not.
    pub by_status: BTreeMap<u16, u64>,
    /// What went wrong: `connect` (counted beside requests), `send`, `body`, `timeout`, `incomplete`, `error_in_200`.
    pub errors: BTreeMap<&'static str, u64>,
    /// Wall-clock time in microseconds.
    pub elapsed_us: u64,
    /// Whole answers a second, rounded down.
    pub whole_per_second: u64,
    /// Bytes of bodies received.
    pub received_bytes: u64,
    /// From the request (or when it was due) to the first byte of the body.
    pub first_byte_us: Latency,
    /// From the request (or when it was due) to the last byte.
    pub last_byte_us: Latency,
    /// The whole answers, if they were to be kept.
    #[serde(skip)]
    pub answers: Vec<WholeAnswer>,
}

/// How one request ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Received whole, after so long to the first and to the last byte.
    Whole {
        answer: WholeAnswer,
        first: Duration,
        last: Duration,
    },
    /// An answer with another status than 200, read to its end.
    Refused,
    /// Something else, by name.
    Failed(&'static str),
}

/// Collects outcomes from all connections.
#[derive(Debug)]
pub(super) struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: u64,
    whole: u64,
    received_bytes: u64,
    by_status: BTreeMap<u16, u64>,
    errors: BTreeMap<&'static str, u64>,
    first: Histogram<u64>,
    last: Histogram<u64>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Nowhere,
    Memory(Vec<WholeAnswer>),
    File(File),
}

impl Recorder {
    pub(super) fn new(whole_answers: &WholeAnswers) -> Result<Self, LoadError> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_MICROSECONDS, 3);
        Ok(Self {
            state: Mutex::new(State {
                requests: 0,
                whole: 0,
                received_bytes: 0,
                by_status: BTreeMap::new(),
                errors: BTreeMap::new(),
                first: histogram()?,
                last: histogram()?,
                sink: match whole_answers {
                    WholeAnswers::Count => Sink::Nowhere,
                    WholeAnswers::Keep => Sink::Memory(Vec::new()),
                    WholeAnswers::Write(path) => Sink::File(File::create(path)?),
                },
            }),
        })
    }

    /// Counts a fault that is no request's.
    pub(super) fn fault(&self, name: &'static str) {
        *self.lock().errors.entry(name).or_default() += 1;
    }

    /// Counts one request.
    pub(super) fn record(&self, status: Option<u16>, bytes: u64, outcome: Outcome) {
        let mut state = self.lock();
        state.requests += 1;
        state.received_bytes += bytes;
        if let Some(status) = status {
            *state.by_status.entry(status).or_default() += 1;
        }
        match outcome {
            Outcome::Whole {
                answer,
                first,
                last,
            } => {
                state.whole += 1;
                state.first.saturating_record(microseconds(first));
                state.last.saturating_record(microseconds(last));
                state.keep(answer);
            }
            Outcome::Refused => {}
            Outcome::Failed(name) => *state.errors.entry(name).or_default() += 1,
        }
    }

    pub(super) fn report(&self, elapsed: Duration) -> LoadReport {
        let mut state = self.lock();
        let answers = match &mut state.sink {
            Sink::Memory(answers) => std::mem::take(answers),
            Sink::Nowhere | Sink::File(_) => Vec::new(),
        };
        let elapsed_us = microseconds(elapsed);
        LoadReport {
            requests: state.requests,
            whole: state.whole,
            by_status: state.by_status.clone(),
            errors: state.errors.clone(),
            elapsed_us,
            whole_per_second: state.whole.saturating_mul(1_000_000) / elapsed_us.max(1),
            received_bytes: state.received_bytes,
            first_byte_us: Latency::of(&state.first),
            last_byte_us: Latency::of(&state.last),
            answers,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, answer: WholeAnswer) {
        match &mut self.sink {
            Sink::Nowhere => {}
            Sink::Memory(answers) => answers.push(answer),
            Sink::File(file) => {
                let written = serde_json::to_string(&answer)
                    .map_err(std::io::Error::from)
                    .and_then(|line| file.write_all(format!("{line}\n").as_bytes()));
                if written.is_err() {
                    *self.errors.entry("answer_file").or_default() += 1;
                }
            }
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
