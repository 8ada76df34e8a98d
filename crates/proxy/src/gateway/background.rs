//! The work beside the requests: what comes round, what is taken over, and how it all stops.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use airouter_store::StoreError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Gateway;
use crate::changes;
use crate::idempotency::ClaimLoop;
use crate::masters;
use crate::resolver::{self, Unsettled};
use crate::settle::{CommitLoop, Landing};
use crate::strays;

/// How often requests in flight are looked through.
const WRITE_DOWN_EVERY: Duration = Duration::from_millis(100);
/// How often idle leases are looked for, and gauges set.
const MAINTAIN_EVERY: Duration = Duration::from_millis(500);
/// How often leases are looked after, and replicas that fell silent.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for what is spooled to land, and how often it looks.
const LAST_LANDING: Duration = Duration::from_secs(5);
const LANDING_POLL: Duration = Duration::from_millis(50);
/// How often last uses of keys are written.
const KEYS_USED_EVERY: Duration = Duration::from_secs(10);
/// How often keys of repeats are forgotten whose time is over; how many together, and how often in one go.
const SWEEP_CLAIMS_EVERY: Duration = Duration::from_secs(30);
const SWEPT_TOGETHER: u32 = 250;
const MOST_SWEEPS: usize = 100;

/// The work beside the requests, to be started once.
pub struct Background {
    pub(super) gateway: Arc<Gateway>,
    pub(super) commits: CommitLoop,
    pub(super) landing: Landing,
    pub(super) unsettled: mpsc::Receiver<Unsettled>,
    pub(super) claims: ClaimLoop,
}

impl Background {
    /// Starts the work. It goes on until [`Working::stop`].
    pub async fn start(self) -> Result<Working, StoreError> {
        let Self {
            gateway,
            commits,
            landing,
            unsettled,
            claims,
        } = self;
        let (work, commit_work) = (TaskTracker::new(), TaskTracker::new());
        let (stop, stop_resolving) = (CancellationToken::new(), CancellationToken::new());
        commit_work.spawn(commits.run());
        let resolver = resolver::run(Arc::clone(&gateway), unsettled, stop_resolving.clone());
        work.spawn(resolver);
        work.spawn(claims.run(stop.clone()));
        let stop_landing = CancellationToken::new();
        work.spawn(landing.run(stop_landing.clone()));
        gateway.take_over().await?;
        work.spawn(changes::follow(Arc::clone(&gateway), stop.clone()));
        work.spawn(strays::follow(Arc::clone(&gateway), stop.clone()));
        work.spawn(masters::follow(Arc::clone(&gateway), stop.clone()));
        work.spawn(masters::share_free_quota(
            Arc::clone(&gateway),
            stop.clone(),
        ));
        let each = |period, work| every(period, Arc::clone(&gateway), stop.clone(), work);
        work.spawn(each(WRITE_DOWN_EVERY, Chore::WriteDown));
        work.spawn(each(MAINTAIN_EVERY, Chore::Maintain));
        work.spawn(each(KEEP_EVERY, Chore::Keep));
        work.spawn(each(KEYS_USED_EVERY, Chore::KeysUsed));
        work.spawn(each(SWEEP_CLAIMS_EVERY, Chore::SweepClaims));
        Ok(Working {
            gateway,
            work,
            commit_work,
            stop,
            stop_landing,
            stop_resolving,
        })
    }
}

/// Work that comes round.
#[derive(Clone, Copy)]
enum Chore {
    WriteDown,
    Maintain,
    Keep,
    KeysUsed,
    SweepClaims,
}

impl Gateway {
    async fn run(&self, chore: Chore) {
        match chore {
            Chore::WriteDown => self.in_flight.write_down(&self.settler, self.clock.now()),
            Chore::Maintain => {
                // What can't be given back now would only be kept from requests while it is tried.
                if self.spool.is_empty() && !self.is_cut_off.load(Ordering::Relaxed) {
                    self.leases.maintain().await;
                    if self.settler.queued() == 0 {
                        self.leases.clear_doubts().await;
                    }
                }
                self.set_gauges();
            }
            Chore::Keep => {
                let kept = self.keep().await;
                let was_cut_off = self.is_cut_off.swap(kept.is_err(), Ordering::Relaxed);
                match kept {
                    Err(error) if !was_cut_off => {
                        tracing::warn!(%error, "the database is away: leases can't be renewed");
                    }
                    Ok(()) if was_cut_off => tracing::info!("the database is back"),
                    Ok(()) | Err(_) => {}
                }
            }
            Chore::KeysUsed => self.write_keys_used().await,
            Chore::SweepClaims => self.sweep_claims().await,
        }
    }
}

impl Gateway {
    /// Renews the leases, ends replicas that fell silent, and takes over what they left.
    async fn keep(&self) -> Result<(), StoreError> {
        self.leases.renew_if_due().await?;
        self.follow_history().await?;
        if self.leases.take_begun_anew() {
            self.in_flight.forget_what_was_written();
        }
        for ended in self.store.end_silent_replicas(self.clock.now()).await? {
            tracing::warn!(
                replica = ended.get(),
                "a replica was silent for too long: its leases are given back"
            );
        }
        self.take_over().await
    }

    /// Forgets keys of repeats whose time is over, a few at a time.
    async fn sweep_claims(&self) {
        for _ in 0..MOST_SWEEPS {
            let now = self.clock.now();
            match self.store.sweep_claims(now, SWEPT_TOGETHER).await {
                Ok(swept) if swept == SWEPT_TOGETHER && !self.stopping.is_cancelled() => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "keys of repeats could not be forgotten");
                    return;
                }
            }
        }
    }

    /// At a stop, what is spooled gets a moment to land.
    async fn wait_for_landing(&self, cut: &CancellationToken) {
        let landed = async {
            while !self.spool.is_empty() {
                tokio::time::sleep(LANDING_POLL).await;
            }
        };
        tokio::select! {
            () = landed => {}
            () = cut.cancelled() => {}
            () = tokio::time::sleep(LAST_LANDING) => {}
        }
    }

    /// Gives the leases back and lets others take over what is open: this replica is gone for good.
    async fn sign_off(&self) {
        if !self.spool.is_empty() {
            tracing::warn!(
                batches = self.spool.len(),
                "usage is spooled and lands at the next start; until then its leases are kept, for three minutes"
            );
            return;
        }
        self.leases.give_back_all().await;
        if let Err(error) = self.leases.end().await {
            tracing::warn!(%error, "this replica could not sign off; others wait for its leases to lapse");
        }
    }

    async fn take_over(&self) -> Result<(), StoreError> {
        if !self.spool.is_empty() {
            // What is spooled is known: it must not be asked for.
            return Ok(());
        }
        let count = self.take_over_pending().await?;
        if count > 0 {
            tracing::info!(
                count,
                "usages that replicas which have ended left open are being found out"
            );
        }
        Ok(())
    }
}

async fn every(period: Duration, gateway: Arc<Gateway>, stop: CancellationToken, chore: Chore) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => gateway.run(chore).await,
        }
    }
}

/// The work beside the requests, while it goes on.
pub struct Working {
    gateway: Arc<Gateway>,
    work: TaskTracker,
    commit_work: TaskTracker,
    stop: CancellationToken,
    stop_landing: CancellationToken,
    stop_resolving: CancellationToken,
}

impl Working {
    /// Waits for the requests that run, and for what works on for clients that have gone, at most until `cut`; then stops
    /// the work: all that was served is committed, what was cut off is written down for the next start, and all leases are
    /// given back.
    pub async fn stop(self, cut: CancellationToken) {
        let Self {
            gateway,
            work,
            commit_work,
            stop,
            stop_landing,
            stop_resolving,
        } = self;
        stop_resolving.cancel();
        gateway.tracker.close();
        tokio::select! {
            () = gateway.tracker.wait() => {}
            () = cut.cancelled() => {
                gateway.in_flight.write_all_down(&gateway.settler, gateway.clock.now());
            }
        }
        stop.cancel();
        if gateway.settler.flush().await.is_err() {
            tracing::error!("what was served last could not be made durable");
        }
        gateway.wait_for_landing(&cut).await;
        stop_landing.cancel();
        work.close();
        work.wait().await;
        gateway.write_keys_used().await;
        gateway.sign_off().await;
        drop(gateway);
        commit_work.close();
    }
}
