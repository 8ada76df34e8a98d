//! What replicas tell each other of a day's quota, through the database; it also outlives a start.

use std::sync::Arc;
use std::time::Duration;

use airouter_billing::Timestamp;
use airouter_store::free_quota::FreeQuotaUse;
use tokio_util::sync::CancellationToken;

use super::{Counts, FreeQuota, MINUTE};
use crate::gateway::Gateway;

/// How often it is looked whether there is anything to tell or to learn.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shares what is counted until `stop`, and once more then.
pub(crate) async fn share(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut is_failing = false;
    loop {
        let is_last = stop.is_cancelled();
        let shared = gateway.share_free_quota().await;
        if let Err(error) = &shared
            && !is_failing
        {
            tracing::warn!(%error, "the quota of free models can't be shared; each replica counts for itself");
        }
        is_failing = shared.is_err();
        if is_last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

impl Gateway {
    async fn share_free_quota(&self) -> Result<(), airouter_store::StoreError> {
        let quota = &self.free_quota;
        let Some((day, own)) = quota.to_share(self.replica.steady_now()) else {
            return Ok(());
        };
        let shared = self.store.share_free_quota(quota.counter, day, &own).await;
        quota.shared(day, shared)
    }
}

impl FreeQuota {
    /// What is to be written down, if it is time to ask what others have used.
    pub(super) fn to_share(&self, now: Timestamp) -> Option<(Timestamp, FreeQuotaUse)> {
        let mut counts = self.counts();
        counts.day.turn(now);
        let news = counts.day.news();
        if news.is_none() && !counts.is_curious(now) {
            return None;
        }
        counts.looked_at = Some(now);
        let nothing = (counts.day.start(), FreeQuotaUse::default());
        Some(news.unwrap_or(nothing))
    }

    pub(super) fn shared<E>(
        &self,
        day: Timestamp,
        others: Result<FreeQuotaUse, E>,
    ) -> Result<(), E> {
        let mut counts = self.counts();
        let others = others.inspect_err(|_| counts.day.not_written())?;
        counts.day.learn(day, others);
        Ok(())
    }
}

impl Counts {
    /// While free models are asked for, what others use is followed closely, else about once a minute.
    fn is_curious(&self, now: Timestamp) -> bool {
        let is_recent = |at: Option<Timestamp>| at.is_some_and(|at| at.plus_seconds(MINUTE) > now);
        is_recent(self.asked_at) || !is_recent(self.looked_at)
    }
}
