//! A closed-loop load generator over keep-alive HTTP/1.1 connections.
//!
//! Each connection sends its next request when its last answer has ended. What counts as *whole* is only what a client
//! could use: a JSON answer read to the end of its body, or a stream up to its `[DONE]`, without an error in it.

mod answer;
mod connection;
mod report;

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Uri};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use connection::Connection;
use report::Recorder;
pub use report::{Latency, LoadReport, WholeAnswer};

/// What load to put on whom.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// The server.
    pub target: SocketAddr,
    /// The path to post to, such as `/v1/chat/completions`.
    pub path: String,
    /// The bearer key.
    pub key: String,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// When to end.
    pub limit: LoadLimit,
    /// The JSON object to post, without `stream`.
    pub body: String,
    /// Which answers are asked for as streams.
    pub stream: StreamMode,
    /// At most so many requests a second in all, evenly spaced; latencies then count from when a request was due.
    pub rate: Option<NonZeroU32>,
    /// What to do with the answers that were received whole, beside counting them.
    pub whole_answers: WholeAnswers,
    /// An answer that takes longer has failed.
    pub request_timeout: Duration,
    /// Ends the load early; answers that are under way are still read.
    pub stop: CancellationToken,
}

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadLimit {
    /// After so many requests.
    Requests(u64),
    /// After so long.
    Duration(Duration),
    /// When its `stop` token is cancelled.
    UntilStopped,
}

/// Which answers are asked for as streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamMode {
    /// All.
    Streamed,
    /// None.
    Whole,
    /// Every second one.
    Alternating,
}

/// What to do with whole answers beside counting them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeAnswers {
    /// Nothing.
    Count,
    /// Keep them for the report.
    Keep,
    /// Write each as a line of JSON (`id`, `cost`, `streamed`) as soon as it is whole.
    Write(PathBuf),
}

/// Why a load can't be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The body isn't a JSON object.
    #[error("the body must be a JSON object")]
    Body,
    /// The path or the key can't be sent.
    #[error("the path or the key can't stand in a request")]
    Request,
    /// The file for whole answers can't be written.
    #[error("the file for whole answers: {0}")]
    File(#[from] io::Error),
    /// The latency histograms can't be made.
    #[error("histogram: {0}")]
    Histogram(#[from] hdrhistogram::errors::CreationError),
}

/// What all connections of one load share.
#[derive(Debug)]
struct Load {
    config: LoadConfig,
    path: Uri,
    authorization: HeaderValue,
    whole_body: Bytes,
    streamed_body: Bytes,
    began: Instant,
    next_ticket: AtomicU64,
    recorder: Recorder,
}

impl Load {
    fn new(config: LoadConfig) -> Result<Self, LoadError> {
        let fields = config
            .body
            .trim()
            .strip_prefix('{')
            .filter(|_| serde_json::from_str::<serde_json::Value>(&config.body).is_ok())
            .ok_or(LoadError::Body)?;
        let comma = if fields.trim() == "}" { "" } else { "," };
        Ok(Self {
            path: config.path.parse().map_err(|_| LoadError::Request)?,
            authorization: HeaderValue::try_from(format!("Bearer {}", config.key))
                .map_err(|_| LoadError::Request)?,
            whole_body: Bytes::from(config.body.clone()),
            streamed_body: Bytes::from(format!("{{\"stream\":true{comma}{fields}")),
            began: Instant::now(),
            next_ticket: AtomicU64::new(0),
            recorder: Recorder::new(&config.whole_answers)?,
            config,
        })
    }

    /// The number of the next request; `None` when the load has ended.
    fn ticket(&self) -> Option<u64> {
        if self.ended() {
            return None;
        }
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        match self.config.limit {
            LoadLimit::Requests(count) if ticket >= count => None,
            _ => Some(ticket),
        }
    }

    fn ended(&self) -> bool {
        let over = match self.config.limit {
            LoadLimit::Duration(duration) => self.began.elapsed() >= duration,
            LoadLimit::Requests(_) | LoadLimit::UntilStopped => false,
        };
        over || self.config.stop.is_cancelled()
    }

    /// When a request may be sent at the earliest, if there is a rate.
    fn due(&self, ticket: u64) -> Option<Instant> {
        let rate = u64::from(self.config.rate?.get());
        let micros = ticket.saturating_mul(1_000_000) / rate;
        Some(self.began + Duration::from_micros(micros))
    }

    fn is_streamed(&self, ticket: u64) -> bool {
        match self.config.stream {
            StreamMode::Streamed => true,
            StreamMode::Whole => false,
            StreamMode::Alternating => ticket.is_multiple_of(2),
        }
    }
}

/// Puts the load on the target until its limit, and reports. Survives connections that break: a new one is made, with a
/// bounded backoff.
///
/// # Errors
/// Only when the configuration can't be used; what goes wrong with requests is in the report.
pub async fn run(config: LoadConfig) -> Result<LoadReport, LoadError> {
    let load = Arc::new(Load::new(config)?);
    let mut connections = JoinSet::new();
    for _ in 0..load.config.connections {
        connections.spawn(Connection::new(Arc::clone(&load)).run());
    }
    while let Some(ended) = connections.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a connection of the load generator failed");
        }
    }
    Ok(load.recorder.report(load.began.elapsed()))
}
