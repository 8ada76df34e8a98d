//! Starting and stopping: who is told to stop, when, and who is waited for.

use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What tasks get to end after they were told to stop at once.
const HARD_STOP: Duration = Duration::from_secs(5);

/// Two stages of stopping, and the tasks that are waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifecycle {
    /// Cancelled first: nothing new begins, what runs goes on.
    pub(crate) soft: CancellationToken,
    /// Cancelled when time is up: everything ends.
    pub(crate) hard: CancellationToken,
    /// The tasks that are waited for.
    pub(crate) tasks: TaskTracker,
    /// Tasks that look on until those have ended; [`Lifecycle::hard`] ends them.
    pub(crate) observers: TaskTracker,
    has_panicked: Arc<AtomicBool>,
}

/// How everything ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// All tasks ended by themselves.
    Settled,
    /// Some were ended before they were done.
    CutOff,
    /// One panicked.
    Panicked,
}

impl Stopped {
    /// 0 only if everything is settled.
    pub(crate) const fn exit_code(self) -> ExitCode {
        match self {
            Self::Settled => ExitCode::SUCCESS,
            Self::CutOff | Self::Panicked => ExitCode::FAILURE,
        }
    }
}

impl Lifecycle {
    /// From now on a panic anywhere in the process is logged and stops everything at once.
    pub(crate) fn stop_on_panic(&self) {
        let lifecycle = self.clone();
        panic::set_hook(Box::new(move |panic| {
            // What a panic says may hold what a client sent: where it happened is enough.
            let place = panic.location().map(ToString::to_string);
            tracing::error!(place, "a task panicked: stopping");
            lifecycle.has_panicked.store(true, Ordering::Release);
            lifecycle.soft.cancel();
            lifecycle.hard.cancel();
        }));
    }

    /// Waits until it is time to stop, and then until every task has ended: `deadline` after the first signal, or at the
    /// second, they are cut off.
    pub(crate) async fn run(&self, mut signals: Signals, deadline: Duration) -> Stopped {
        tokio::select! {
            () = signals.next() => tracing::info!(seconds = deadline.as_secs(), "stopping: running answers may end"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tasks.close();
        self.observers.close();
        let stopped = tokio::select! {
            () = self.tasks.wait() => Stopped::Settled,
            () = self.hard.cancelled() => Stopped::CutOff,
            () = signals.next() => {
                tracing::warn!("stopping at once: told twice");
                Stopped::CutOff
            }
            () = tokio::time::sleep(deadline) => {
                tracing::warn!("stopping at once: time is up");
                Stopped::CutOff
            }
        };
        self.hard.cancel();
        let all = async {
            self.tasks.wait().await;
            self.observers.wait().await;
        };
        if tokio::time::timeout(HARD_STOP, all).await.is_err() {
            tracing::error!(tasks = self.tasks.len(), "some tasks did not end");
        }
        if self.has_panicked.load(Ordering::Acquire) {
            Stopped::Panicked
        } else {
            stopped
        }
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals don't end the process.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_ends_by_itself_is_settled_and_watched_to_the_end() {
        let lifecycle = Lifecycle::default();
        let (soft, hard) = (lifecycle.soft.clone(), lifecycle.hard.clone());
        lifecycle.tasks.spawn(async move { soft.cancelled().await });
        lifecycle
            .observers
            .spawn(async move { hard.cancelled().await });
        lifecycle.soft.cancel();
        let stopped = lifecycle.run(Signals::listen().unwrap(), LONG).await;
        assert_eq!(stopped, Stopped::Settled);
    }

    #[tokio::test]
    async fn what_goes_on_is_cut_off_when_time_is_up() {
        let lifecycle = Lifecycle::default();
        let hard = lifecycle.hard.clone();
        lifecycle.tasks.spawn(async move { hard.cancelled().await });
        lifecycle.soft.cancel();
        let stopped = lifecycle.run(Signals::listen().unwrap(), SHORT).await;
        assert_eq!(stopped, Stopped::CutOff);
    }

    #[tokio::test]
    async fn a_panic_stops_everything() {
        let before = panic::take_hook();
        let lifecycle = Lifecycle::default();
        lifecycle.stop_on_panic();
        lifecycle.tasks.spawn(async { panic!("on purpose") });
        let stopped = lifecycle.run(Signals::listen().unwrap(), LONG).await;
        panic::set_hook(before);
        assert_eq!(stopped, Stopped::Panicked);
    }
}
