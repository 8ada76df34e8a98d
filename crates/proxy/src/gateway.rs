//! The gateway: what all requests share, and the tasks that work beside them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airouter_auth::Pseudonyms;
use airouter_limits::Limiter;
use airouter_spool::Spool;
use airouter_store::{Store, StoreError};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::changes;
use crate::clock::Clock;
use crate::history::{Continuity, History};
use crate::in_flight::InFlight;
use crate::keys::KeyCache;
use crate::leases::LeaseKeeper;
use crate::masters::Masters;
use crate::metrics::{Alarm, Gauge, Metrics};
use crate::read_body::BodyMemory;
use crate::replica::Replica;
use crate::resolver::{self, Resolver, Unsettled};
use crate::settle::{CommitLoop, Landing, Settler, SettlerParts};
use crate::upstream::UpstreamClient;

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

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model of requests that name none.
    pub default_model: Option<String>,
    /// The largest body of a request, in bytes.
    pub max_body_bytes: u64,
    /// Bounds of waiting.
    pub timeouts: Timeouts,
    /// Most connections of clients at the same time.
    pub max_connections: usize,
}

/// Bounds of waiting.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a client's headers, also those of the next request on an idle connection.
    pub client_headers: Duration,
    /// Between two parts of a client's body.
    pub client_body: Duration,
    /// For a client to take what was sent.
    pub client_stall: Duration,
    /// For an upstream's headers, and for the first event or the whole of an answer.
    pub upstream_answer: Duration,
    /// Between two parts of an upstream's answer.
    pub upstream_idle: Duration,
    /// A stream whose first event takes longer is begun all the same, so that the client sees heartbeats; then it can't be
    /// tried elsewhere any more.
    pub first_event: Duration,
    /// Between heartbeats of a stream.
    pub heartbeat: Duration,
    /// An answer whose client has gone is read on for so long at most, where cancelling would not stop its billing.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            client_headers: Duration::from_secs(60),
            client_body: Duration::from_secs(30),
            client_stall: Duration::from_secs(60),
            upstream_answer: Duration::from_secs(600),
            upstream_idle: Duration::from_secs(120),
            first_event: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            drain: Duration::from_secs(600),
        }
    }
}

/// Where master accounts come from.
#[async_trait]
pub trait MasterSource: Send + Sync + 'static {
    /// All that may serve now; `before` are those that did until now, so that one that has not changed stays what it is.
    async fn load(&self, before: &Masters) -> Result<Masters, StoreError>;
}

/// What a [`Gateway`] is made of.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Where usage waits while the database is away.
    pub spool: Arc<Spool>,
    /// Where this process keeps what it remembers of the database.
    pub data_dir: PathBuf,
    /// Where master accounts come from.
    pub masters: Arc<dyn MasterSource>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Under which names tenants are known upstream.
    pub pseudonyms: Pseudonyms,
    /// The connection to upstreams.
    pub upstream: UpstreamClient,
    /// The rate limits; its clock is [`Parts::clock`].
    pub limiter: Limiter,
    /// What the operator set.
    pub settings: Settings,
}

/// What all requests share.
pub struct Gateway {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pseudonyms: Pseudonyms,
    pub(crate) upstream: UpstreamClient,
    pub(crate) settings: Settings,
    pub(crate) keys: KeyCache,
    pub(crate) keys_used: changes::KeysUsed,
    pub(crate) catalog: ArcSwap<Catalog>,
    pub(crate) masters: ArcSwap<Masters>,
    pub(crate) limiter: Limiter,
    pub(crate) replica: Arc<Replica>,
    pub(crate) leases: Arc<LeaseKeeper>,
    pub(crate) spool: Arc<Spool>,
    history: History,
    /// The database is another one, or an older state: what was read of its change log means nothing.
    pub(crate) change_log_is_another: AtomicBool,
    /// The database did not answer when it was asked last.
    is_cut_off: AtomicBool,
    master_source: Arc<dyn MasterSource>,
    pub(crate) settler: Settler,
    pub(crate) in_flight: InFlight,
    pub(crate) body_memory: BodyMemory,
    pub(crate) resolver: Resolver,
    /// Requests, and what works on for them when their clients have gone.
    pub(crate) tracker: TaskTracker,
    /// Set when nothing new is to be admitted.
    pub(crate) stopping: CancellationToken,
}

/// The work beside the requests, to be started once.
pub struct Background {
    gateway: Arc<Gateway>,
    commits: CommitLoop,
    landing: Landing,
    unsettled: mpsc::Receiver<Unsettled>,
}

impl Gateway {
    /// Registers this replica with the store. The work in [`Background`] must be run for it.
    pub async fn start(parts: Parts) -> Result<(Arc<Self>, Background), StoreError> {
        let Parts {
            store,
            spool,
            data_dir,
            masters: master_source,
            clock,
            metrics,
            pseudonyms,
            upstream,
            limiter,
            settings,
        } = parts;
        let history = History::open(&data_dir);
        let replica = Replica::register(Arc::clone(&store), Arc::clone(&clock)).await?;
        let tracker = TaskTracker::new();
        let leases = LeaseKeeper::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::clone(&replica),
            tracker.clone(),
        );
        let (settler, commits, landing) = Settler::new(SettlerParts {
            store: Arc::clone(&store),
            spool: Arc::clone(&spool),
            replica: Arc::clone(&replica),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        });
        let (resolver, unsettled) = Resolver::new();
        let gateway = Arc::new(Self {
            keys: KeyCache::new(Arc::clone(&store), Arc::clone(&clock)),
            keys_used: changes::KeysUsed::default(),
            catalog: ArcSwap::default(),
            masters: ArcSwap::default(),
            in_flight: InFlight::default(),
            body_memory: BodyMemory::default(),
            stopping: CancellationToken::new(),
            store,
            clock,
            metrics,
            pseudonyms,
            upstream,
            limiter,
            settings,
            replica,
            leases,
            spool,
            history,
            change_log_is_another: AtomicBool::new(false),
            is_cut_off: AtomicBool::new(false),
            master_source,
            settler,
            resolver,
            tracker,
        });
        gateway.follow_history().await?;
        gateway.load_masters().await?;
        let background = Background {
            gateway: Arc::clone(&gateway),
            commits,
            landing,
            unsettled,
        };
        Ok((gateway, background))
    }

    /// Puts a price book in force.
    pub fn set_catalog(&self, catalog: Catalog) {
        self.metrics
            .gauge(Gauge::ModelsOnSale)
            .set(i64::try_from(catalog.models().len()).unwrap_or(0));
        self.catalog.store(Arc::new(catalog));
    }

    /// Reads the master accounts anew.
    pub(crate) async fn load_masters(&self) -> Result<(), StoreError> {
        let masters = self.master_source.load(&self.masters.load()).await?;
        self.masters.store(Arc::new(masters));
        Ok(())
    }

    /// Looks whether the database is still the one that it was. What an older one has forgotten is said, and nothing is
    /// spent on leases that it did not grant.
    async fn follow_history(&self) -> Result<(), StoreError> {
        let found = self.store.position().await?;
        match self.history.compare(found) {
            Continuity::Continues => {
                self.history.remember(found);
                return Ok(());
            }
            Continuity::Older { seen, found } => {
                self.metrics.alarm(Alarm::DatabaseOlder);
                tracing::error!(
                    seen,
                    found,
                    "the database is older than it was: ledger transactions after the one found, up to the one seen, are missing"
                );
            }
            Continuity::Another => {
                tracing::warn!(database = %found.database, "this is another database than the one before");
            }
        }
        self.change_log_is_another.store(true, Ordering::Release);
        self.keys.forget_all();
        self.leases.begin_over().await?;
        // Not before: what failed is to be done again.
        self.history.remember(found);
        Ok(())
    }

    /// Whether requests can be served: a price book is in force, usage can be made durable, and nobody stops.
    pub fn is_ready(&self) -> bool {
        !self.catalog.load().is_empty() && !self.settler.is_stuck() && !self.stopping.is_cancelled()
    }

    /// From now on new requests are refused; those that run go on.
    pub fn stop_admitting(&self) {
        self.stopping.cancel();
    }

    fn set_gauges(&self) {
        let set = |gauge, value: usize| {
            self.metrics
                .gauge(gauge)
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let (granted, held) = self.leases.totals();
        self.metrics.gauge(Gauge::LeasedNanodollars).set(granted);
        self.metrics.gauge(Gauge::HeldNanodollars).set(held);
        set(Gauge::Leases, self.leases.len());
        set(Gauge::SettlementQueue, self.settler.queued());
        let spooled = usize::try_from(self.spool.len()).unwrap_or(usize::MAX);
        set(Gauge::SpooledBatches, spooled);
        set(Gauge::UpstreamRequests, self.masters.load().in_flight());
        let connections = self.store.connections();
        set(Gauge::DatabaseConnections, connections.open);
        set(Gauge::IdleDatabaseConnections, connections.idle);
        set(Gauge::KeyCacheEntries, self.keys.len());
        set(Gauge::Ready, usize::from(self.is_ready()));
        if let Some(sharing) = self.limiter.sharing() {
            set(Gauge::RedisUp, usize::from(sharing.is_up));
            self.metrics.redis_fallbacks(sharing.fallbacks);
        }
    }
}

impl Background {
    /// Starts the work. It goes on until [`Working::stop`].
    pub async fn start(self) -> Result<Working, StoreError> {
        let Self {
            gateway,
            commits,
            landing,
            unsettled,
        } = self;
        let (work, commit_work) = (TaskTracker::new(), TaskTracker::new());
        let (stop, stop_resolving) = (CancellationToken::new(), CancellationToken::new());
        commit_work.spawn(commits.run());
        let resolver = resolver::run(Arc::clone(&gateway), unsettled, stop_resolving.clone());
        work.spawn(resolver);
        let stop_landing = CancellationToken::new();
        work.spawn(landing.run(stop_landing.clone()));
        gateway.take_over().await?;
        work.spawn(changes::follow(Arc::clone(&gateway), stop.clone()));
        let each = |period, work| every(period, Arc::clone(&gateway), stop.clone(), work);
        work.spawn(each(WRITE_DOWN_EVERY, Chore::WriteDown));
        work.spawn(each(MAINTAIN_EVERY, Chore::Maintain));
        work.spawn(each(KEEP_EVERY, Chore::Keep));
        work.spawn(each(KEYS_USED_EVERY, Chore::KeysUsed));
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
        gateway.settler.flush().await;
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
