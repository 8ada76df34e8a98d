//! The gateway: what all requests share, and the tasks that work beside them.

use std::sync::Arc;
use std::time::Duration;

use airouter_auth::Pseudonyms;
use airouter_limits::Limiter;
use airouter_store::{Store, StoreError};
use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::changes;
use crate::clock::Clock;
use crate::in_flight::InFlight;
use crate::keys::KeyCache;
use crate::leases::LeaseKeeper;
use crate::masters::Masters;
use crate::metrics::{Gauge, Metrics};
use crate::read_body::BodyMemory;
use crate::resolver::{self, Resolver, Unsettled};
use crate::settle::{CommitLoop, Settler};
use crate::upstream::UpstreamClient;

/// Most keys and accounts whose rates are counted at the same time.
const RATE_KEYS_MAX: usize = 200_000;
/// How often requests in flight are looked through.
const WRITE_DOWN_EVERY: Duration = Duration::from_millis(100);
/// How often idle leases are looked for, and gauges set.
const MAINTAIN_EVERY: Duration = Duration::from_millis(500);
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

/// What a [`Gateway`] is made of.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Under which names tenants are known upstream.
    pub pseudonyms: Pseudonyms,
    /// The connection to upstreams.
    pub upstream: UpstreamClient,
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
    pub(crate) leases: Arc<LeaseKeeper>,
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
    unsettled: mpsc::Receiver<Unsettled>,
}

impl Gateway {
    /// Registers this replica with the store. The work in [`Background`] must be run for it.
    pub async fn start(parts: Parts) -> Result<(Arc<Self>, Background), StoreError> {
        let Parts {
            store,
            clock,
            metrics,
            pseudonyms,
            upstream,
            settings,
        } = parts;
        let replica = store.register_replica(clock.now()).await?;
        let tracker = TaskTracker::new();
        let leases = LeaseKeeper::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            replica,
            tracker.clone(),
        );
        let (settler, commits) = Settler::new(
            Arc::clone(&store),
            replica,
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        let (resolver, unsettled) = Resolver::new();
        let gateway = Arc::new(Self {
            keys: KeyCache::new(Arc::clone(&store), Arc::clone(&clock)),
            keys_used: changes::KeysUsed::default(),
            catalog: ArcSwap::default(),
            masters: ArcSwap::default(),
            limiter: Limiter::new(RATE_KEYS_MAX),
            in_flight: InFlight::default(),
            body_memory: BodyMemory::default(),
            stopping: CancellationToken::new(),
            store,
            clock,
            metrics,
            pseudonyms,
            upstream,
            settings,
            leases,
            settler,
            resolver,
            tracker,
        });
        let background = Background {
            gateway: Arc::clone(&gateway),
            commits,
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

    /// Puts master accounts in use.
    pub fn set_masters(&self, masters: Masters) {
        self.masters.store(Arc::new(masters));
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
        set(Gauge::UpstreamRequests, self.masters.load().in_flight());
        let connections = self.store.connections();
        set(Gauge::DatabaseConnections, connections.open);
        set(Gauge::IdleDatabaseConnections, connections.idle);
        set(Gauge::KeyCacheEntries, self.keys.len());
        set(Gauge::Ready, usize::from(self.is_ready()));
    }
}

impl Background {
    /// Starts the work. It goes on until [`Working::stop`].
    pub async fn start(self) -> Result<Working, StoreError> {
        let Self {
            gateway,
            commits,
            unsettled,
        } = self;
        let (work, commit_work) = (TaskTracker::new(), TaskTracker::new());
        let (stop, stop_resolving) = (CancellationToken::new(), CancellationToken::new());
        commit_work.spawn(commits.run());
        let resolver = resolver::run(Arc::clone(&gateway), unsettled, stop_resolving.clone());
        work.spawn(resolver);
        let taken_up = gateway.take_up_pending().await?;
        if taken_up > 0 {
            tracing::info!(
                taken_up,
                "usages that an earlier process left open are being found out"
            );
        }
        work.spawn(changes::follow(Arc::clone(&gateway), stop.clone()));
        let each = |period, work| every(period, Arc::clone(&gateway), stop.clone(), work);
        work.spawn(each(WRITE_DOWN_EVERY, Chore::WriteDown));
        work.spawn(each(MAINTAIN_EVERY, Chore::Maintain));
        work.spawn(each(LeaseKeeper::RENEW_EVERY, Chore::Renew));
        work.spawn(each(KEYS_USED_EVERY, Chore::KeysUsed));
        Ok(Working {
            gateway,
            work,
            commit_work,
            stop,
            stop_resolving,
        })
    }
}

/// Work that comes round.
#[derive(Clone, Copy)]
enum Chore {
    WriteDown,
    Maintain,
    Renew,
    KeysUsed,
}

impl Gateway {
    async fn run(&self, chore: Chore) {
        match chore {
            Chore::WriteDown => self.in_flight.write_down(&self.settler, self.clock.now()),
            Chore::Maintain => {
                self.leases.maintain().await;
                self.set_gauges();
            }
            Chore::Renew => {
                if let Err(error) = self.leases.renew().await {
                    tracing::error!(%error, "the leases could not be renewed");
                }
            }
            Chore::KeysUsed => self.write_keys_used().await,
        }
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
        work.close();
        work.wait().await;
        gateway.settler.flush().await;
        gateway.write_keys_used().await;
        gateway.leases.give_back_all().await;
        drop(gateway);
        commit_work.close();
    }
}
