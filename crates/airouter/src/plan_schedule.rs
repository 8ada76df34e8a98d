//! Puts versions of price plans in force when their time has come.

use std::sync::Arc;
use std::time::Duration;

use airouter_proxy::clock::Clock;
use airouter_store::Store;
use tokio_util::sync::CancellationToken;

/// How often it is looked. Servers follow what changes within half a second more.
const EVERY: Duration = Duration::from_millis(250);
/// The first of failures in a row is told, and then one in so many.
const TOLD: u64 = 240;

/// Looks after what is scheduled. Every replica does; each version comes once.
pub(crate) struct PlanSchedule {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl PlanSchedule {
    /// Goes on until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut failures: u64 = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            match self.store.put_due_versions_in_force(self.clock.now()).await {
                Ok(0) => failures = 0,
                Ok(versions) => {
                    failures = 0;
                    tracing::info!(versions, "scheduled versions of price plans are in force");
                }
                Err(error) => {
                    if failures.is_multiple_of(TOLD) {
                        tracing::warn!(%error, "what is scheduled of price plans can't be read");
                    }
                    failures += 1;
                }
            }
        }
    }
}
