//! The running server sums requests up for reports, off their way: whichever replica gets to it first.

use std::sync::Arc;
use std::time::Duration;

use airouter_store::Store;
use airouter_store::rollups::Folded;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether there is something new. Reports read what is not summed up yet from the requests
/// themselves: so much is quickly read.
const TICK: Duration = Duration::from_secs(5);
/// Most requests of one step; the database may take fewer.
const MOST: u32 = 20_000;

/// Goes on until `stop`. A step that is cut off has not been made.
pub(crate) async fn run(store: Arc<dyn Store>, stop: CancellationToken) {
    stop.run_until_cancelled(keep_up(&*store)).await;
}

async fn keep_up(store: &dyn Store) {
    loop {
        match store.fold_usage(MOST).await {
            // Whoever waits for the database gets it first.
            Ok(Folded::More) => tokio::task::yield_now().await,
            Ok(Folded::Done | Folded::Waiting) => tokio::time::sleep(TICK).await,
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "requests can't be summed up for reports");
                tokio::time::sleep(TICK).await;
            }
            Err(error) => {
                tracing::error!(%error, "requests can't be summed up for reports: these get slower");
                tokio::time::sleep(TICK).await;
            }
        }
    }
}
