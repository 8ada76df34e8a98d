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
    /// What is logged, by `AIROUTER_LOG`.
    pub(super) log: Option<String>,
    /// What is logged, by `RUST_LOG`; only looked at where the other one is not set.
    pub(super) rust_log: Option<String>,
}

impl Process {
    /// What is logged; `None` is up to the command.
    pub(crate) fn log(&self) -> Option<&str> {
        self.log.as_deref().or(self.rust_log.as_deref())
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let by_own_name = log(reader, "AIROUTER_LOG");
        let by_other_name = match by_own_name {
            Some(_) => None,
            None => log(reader, "RUST_LOG"),
        };
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
            log: by_own_name,
            rust_log: by_other_name,
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
