//! What was spooled while the database was away lands when it is back, once: the database ignores what it has.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::books::write;
use super::spooled::{self, SpoolingError};
use super::{SettlerParts, Shared};

/// Between attempts while the database is away.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// Nobody waits for a landing: a database that is only slow gets the time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most records that land together.
const MOST_RECORDS: usize = 256;

/// Lands what was spooled.
pub struct Landing {
    parts: Arc<SettlerParts>,
    shared: Arc<Shared>,
    /// How many records land together: fewer after a failure, which may have been for their number.
    together: usize,
}

/// Whether there is more to land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Landed,
    NothingWaits,
    DatabaseAway,
}

impl Landing {
    pub(super) fn new(parts: Arc<SettlerParts>, shared: Arc<Shared>) -> Self {
        Self {
            parts,
            shared,
            together: MOST_RECORDS,
        }
    }

    /// Lands whatever is spooled until `stop`. What has not landed then stays on the disk for the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.land_next().await {
                Progress::Landed => {}
                Progress::NothingWaits => tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.shared.spooled.notified() => {}
                },
                Progress::DatabaseAway => tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY_EVERY) => {}
                },
            }
        }
    }

    async fn land_next(&mut self) -> Progress {
        self.try_land().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the spool can't be read or emptied");
            Progress::DatabaseAway
        })
    }

    async fn try_land(&mut self) -> Result<Progress, SpoolingError> {
        let spool = Arc::clone(&self.parts.spool);
        if spool.is_empty() {
            return Ok(Progress::NothingWaits);
        }
        let Some(next) = spooled::next(&spool, self.together).await? else {
            return Ok(Progress::NothingWaits);
        };
        if let Err(error) = write(&self.parts, &next.batch, PATIENCE).await {
            tracing::debug!(%error, "the database is still away");
            self.together = (self.together / 2).max(1);
            return Ok(Progress::DatabaseAway);
        }
        self.together = (self.together * 2).min(MOST_RECORDS);
        spooled::landed(&spool, next.up_to).await?;
        if spool.is_empty() {
            tracing::info!("all that was spooled has landed");
        }
        Ok(Progress::Landed)
    }
}
