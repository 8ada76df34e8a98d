//! How the process runs.

use std::num::NonZeroUsize;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::environment::Reader;

const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(30);
const MOST_WORKER_THREADS: usize = 1024;
const MOST_SHUTDOWN_SECONDS: u64 = 3600;

/// How the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Threads that serve; `None` is one a core.
    pub(crate) worker_threads: Option<NonZeroUsize>,
    /// For so long running answers may go on when it is told to stop.
    pub(crate) shutdown: Duration,
    /// What is logged; `None` is up to the command.
    pub(crate) log: Option<String>,
}

impl Process {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            worker_threads: reader.parsed(
                "AIROUTER_WORKER_THREADS",
                "a number from 1 to 1024",
                |text| {
                    text.parse()
                        .ok()
                        .filter(|threads: &NonZeroUsize| threads.get() <= MOST_WORKER_THREADS)
                },
            ),
            shutdown: reader
                .parsed(
                    "AIROUTER_SHUTDOWN_SECONDS",
                    "a number of seconds from 0 to 3600",
                    |text| {
                        text.parse()
                            .ok()
                            .filter(|seconds| *seconds <= MOST_SHUTDOWN_SECONDS)
                            .map(Duration::from_secs)
                    },
                )
                .unwrap_or(DEFAULT_SHUTDOWN),
            log: log(reader, "AIROUTER_LOG").or_else(|| log(reader, "RUST_LOG")),
        }
    }
}

fn log(reader: &mut Reader<'_>, name: &'static str) -> Option<String> {
    reader.parsed(
        name,
        "a level or a filter, like info or airouter=debug,info",
        |text| EnvFilter::try_new(text).is_ok().then(|| text.to_owned()),
    )
}
