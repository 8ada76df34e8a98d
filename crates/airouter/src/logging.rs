//! Logs: lines of JSON on standard error, or plain text when a person is looking.

mod json_line;
mod paced;

use std::io::{self, IsTerminal as _};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use self::json_line::JsonLine;
use self::paced::Paced;

/// Lines that wait for a slow reader; beyond that they are dropped and counted, so that no request waits for a log.
const BUFFERED_LINES: usize = 16_384;

/// Keeps logs flowing; when it is dropped, what is buffered is written.
pub(crate) struct Logging {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Logs that can't be set up.
#[derive(Debug, thiserror::Error)]
#[error("logs can't be set up: {0}")]
pub(crate) struct LoggingError(Box<dyn std::error::Error + Send + Sync>);

impl Logging {
    /// Starts logging what `filter` (like `RUST_LOG`) lets through.
    pub(crate) fn start(filter: &str) -> Result<Self, LoggingError> {
        let filter = EnvFilter::try_new(filter).map_err(|error| LoggingError(error.into()))?;
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(BUFFERED_LINES)
            .finish(Paced::new(io::stderr()));
        let dropped = writer.error_counter();
        let logs = fmt().with_env_filter(filter).with_writer(writer);
        if io::stderr().is_terminal() {
            logs.try_init()
        } else {
            logs.event_format(JsonLine).try_init()
        }
        .map_err(LoggingError)?;
        Ok(Self {
            dropped,
            _writer: guard,
        })
    }

    /// Counts the lines that were dropped.
    pub(crate) fn dropped_lines(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}
