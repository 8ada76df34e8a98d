//! The running server compares by itself: each day some time after its end, one replica at a time, and the two days before
//! it once more, for what upstreams or spools told late.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use airouter_auth::EncryptionKeys;
use airouter_billing::reconciliation::{About, Finding, Sampling};
use airouter_billing::{MasterAccountId, Nanos, Timestamp, UtcDay};
use airouter_proxy::clock::Clock as _;
use airouter_proxy::metrics::{Alarm, Metrics};
use airouter_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::report::entry_name;
use super::{AskedUpstream, DayReport, ReconcileError, Reconciler, days_told, sum_up};
use crate::clock::SystemClock;
use crate::config::Upstream;
use crate::master_accounts;

/// How often it is looked whether a day is due; the clock alone tells.
const TICK: Duration = Duration::from_secs(1);
/// How long it is waited when another replica is at it, or something went wrong.
const RETRY: Duration = Duration::from_secs(30);
/// For so long a day is one replica's; one that dies in the middle leaves it to the others then.
const CLAIM_SECONDS: i64 = 1_800;
/// How often the metrics are brought up to what all replicas have found.
const SHOW_EVERY: Duration = Duration::from_secs(10);
/// Days before the one that is due that are compared once more.
const DAYS_AGAIN: i64 = 2;

/// Compares days when they are due, and shows what was found.
pub(crate) struct Routine {
    /// The database.
    pub(crate) store: Arc<dyn Store>,
    /// What opens the keys of master accounts.
    pub(crate) encryption: EncryptionKeys,
    /// The upstream that is configured.
    pub(crate) upstream: Upstream,
    /// Where it is shown.
    pub(crate) metrics: Arc<Metrics>,
    /// How long after its end a day is due; `None` is never.
    pub(crate) after: Option<Duration>,
}

/// How far a look at the accounts came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Done,
    /// Another replica is at it, or it did not succeed.
    Open,
}

impl Routine {
    /// Goes on until `stop`. Whatever is cut off is done again: what was entered stays, and is entered once.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let work = async { tokio::join!(self.compare(), self.show()) };
        stop.run_until_cancelled(work).await;
    }

    async fn compare(&self) {
        let Some(after) = self.after else { return };
        let mut done = None;
        loop {
            let day = last_due(SystemClock.now(), after);
            let wait = if done == Some(day) {
                TICK
            } else {
                match self.compare_all(day).await {
                    Ok(Progress::Done) => {
                        done = Some(day);
                        TICK
                    }
                    Ok(Progress::Open) => RETRY,
                    Err(error) => {
                        tracing::warn!(%error, %day, "a day could not be compared with upstreams");
                        RETRY
                    }
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Compares a day of every account that has been here for all of it.
    async fn compare_all(&self, day: UtcDay) -> Result<Progress, ReconcileError> {
        let opened =
            master_accounts::opened(&*self.store, &self.encryption, &self.upstream).await?;
        let mut progress = Progress::Done;
        for opened in opened {
            // Who can't be asked is told by the command; every day in the log would be noise.
            let Ok(upstream) = AskedUpstream::of(opened, &self.upstream) else {
                continue;
            };
            match self.compare_one(&upstream, day).await {
                Ok(Progress::Done) => {}
                Ok(Progress::Open) => progress = Progress::Open,
                Err(error) => {
                    let name = upstream.name;
                    tracing::warn!(%error, master_account = name, %day, "a day could not be compared with the upstream");
                    progress = Progress::Open;
                }
            }
        }
        Ok(progress)
    }

    async fn compare_one(
        &self,
        upstream: &AskedUpstream,
        day: UtcDay,
    ) -> Result<Progress, ReconcileError> {
        let reconciler = Reconciler {
            store: &*self.store,
        };
        if began(upstream.id).is_none_or(|began| began >= day) {
            // With it the first whole day can be compared.
            let taken = reconciler.take_reading(upstream).await?;
            return Ok(taken.map_or(Progress::Open, |()| Progress::Done));
        }
        let now = SystemClock.now();
        let until = now.plus_seconds(CLAIM_SECONDS);
        if !self.store.claim_day(upstream.id, day, now, until).await? {
            let closed = self.store.reconciled_day(upstream.id, day).await?;
            return Ok(closed.map_or(Progress::Open, |_| Progress::Done));
        }
        for again in (-DAYS_AGAIN..0).map(|days| day.plus(days)) {
            let was_compared = self.store.reconciled_day(upstream.id, again).await?;
            if was_compared.is_some() && days_told(now).contains(&again) {
                let report = reconciler
                    .reconcile(upstream, again, Sampling::Some)
                    .await?;
                self.announce(&report);
            }
        }
        let report = reconciler.reconcile(upstream, day, Sampling::Some).await?;
        self.announce(&report);
        let is_closed = report.compared.is_some() || !upstream.tells_days();
        Ok(if is_closed {
            Progress::Done
        } else {
            Progress::Open
        })
    }

    fn announce(&self, report: &DayReport) {
        let (day, account) = (report.day, report.account.as_str());
        for entry in &report.entered {
            self.metrics.alarm(Alarm::BillDiffers);
            tracing::warn!(
                master_account = account,
                %day,
                finding = entry_name(entry),
                subject = entry.key.about.subject(),
                purse = entry.key.purse.name(),
                difference = %entry.difference,
                cost = %entry.cost,
                "the upstream billed otherwise than it is booked"
            );
        }
        for not_checked in &report.not_checked {
            let (what, why) = (not_checked.what, not_checked.why.as_str());
            tracing::info!(master_account = account, %day, what, why, "not compared with the upstream");
        }
        tracing::info!(
            master_account = account,
            %day,
            requests = report.requests,
            compared = report.compared_single,
            findings = report.standing.len(),
            "compared with the upstream"
        );
    }

    /// Shows what stands, whoever found it.
    async fn show(&self) {
        loop {
            if let Err(error) = self.show_standing().await {
                tracing::debug!(%error, "what upstreams billed otherwise can't be shown");
            }
            tokio::time::sleep(SHOW_EVERY).await;
        }
    }

    async fn show_standing(&self) -> Result<(), StoreError> {
        let oldest = *days_told(SystemClock.now()).start();
        let entries = self.store.findings(oldest).await?;
        let accounts = self.store.master_accounts().await?;
        let sums = sums(entries);
        for account in accounts {
            let metrics = self.metrics.for_master(&account.name);
            for (kind, name) in About::KINDS.into_iter().enumerate() {
                let sum = sums.get(&(account.id, name)).copied().unwrap_or_default();
                metrics.set_reconciliation(kind, sum);
            }
        }
        Ok(())
    }
}

/// What stands, by account and kind.
fn sums(entries: Vec<Finding>) -> HashMap<(MasterAccountId, &'static str), Nanos> {
    let mut sums = HashMap::<_, Nanos>::new();
    for finding in sum_up(entries.into_iter()).into_values() {
        let kind = (finding.key.master_account, finding.key.about.kind());
        let sum = sums.entry(kind).or_default();
        *sum = sum.saturating_add(finding.difference);
    }
    sums
}

/// The last day whose end is so long ago.
fn last_due(now: Timestamp, after: Duration) -> UtcDay {
    let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    UtcDay::of(now.plus_seconds(-after)).plus(-1)
}

/// The day in which an account was added: what it was used for before that is in what the upstream says of that day.
fn began(account: MasterAccountId) -> Option<UtcDay> {
    let (seconds, _) = account.get().get_timestamp()?.to_unix();
    let at = Timestamp::default().plus_seconds(i64::try_from(seconds).ok()?);
    Some(UtcDay::of(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;
    use uuid::Uuid;

    #[test]
    fn a_day_is_due_some_time_after_its_end() {
        let hour = Duration::from_secs(3_600);
        for (now, due) in [
            (datetime!(2026-11-21 00:59:59 UTC), "2026-11-19"),
            (datetime!(2026-11-21 01:00 UTC), "2026-11-20"),
            (datetime!(2026-11-22 00:30 UTC), "2026-11-20"),
        ] {
            assert_eq!(last_due(now.into(), hour).to_string(), due);
        }
    }

    #[test]
    fn an_account_knows_its_first_day() {
        let id = Uuid::now_v7();
        let today = UtcDay::of(SystemClock.now());
        let first = began(MasterAccountId::new(id)).unwrap();
        assert!(first == today || first == today.plus(-1));
        assert_eq!(began(MasterAccountId::new(Uuid::nil())), None);
    }
}
