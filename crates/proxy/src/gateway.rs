//! The gateway: what all requests share, and the tasks that work beside them.

mod background;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airouter_auth::{EncryptionKeys, Pseudonyms};
use airouter_limits::Limiter;
use airouter_spool::Spool;
use airouter_store::{Store, StoreError};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer_headers::AnswerHeaders;
use crate::catalog::Catalog;
use crate::changes;
use crate::client_address::TrustedProxies;
use crate::clock::Clock;
use crate::control_plane::ControlPlane;
use crate::cors::AllowedOrigins;
use crate::history::{Committed, Continuity, History};
use crate::idempotency::ClaimKeeper;
use crate::in_flight::InFlight;
use crate::keys::KeyCache;
use crate::leases::LeaseKeeper;
use crate::masters::{FreeQuota, Masters};
use crate::metrics::{Alarm, Gauge, Metrics};
use crate::pseudonyms::KnownPseudonyms;
use crate::read_body::BodyMemory;
use crate::replica::Replica;
use crate::resolver::Resolver;
use crate::settle::{Settler, SettlerParts};
use crate::strays::Strays;
use crate::upstream::UpstreamClient;

pub use background::{Background, Working};

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model of requests that name none.
    pub default_model: Option<String>,
    /// The largest body of a request, in bytes.
    pub max_body_bytes: u64,
    /// Bounds of waiting.
    pub timeouts: Timeouts,
    /// How often upstreams are asked for the credit of master accounts, about.
    pub credit_every: Duration,
    /// Most connections of clients at the same time.
    pub max_connections: usize,
    /// Whether answers carry what they cost.
    pub answer_headers: AnswerHeaders,
    /// Whose pages may use this server from a browser; `None` is nobody's.
    pub allowed_origins: Option<AllowedOrigins>,
    /// Most of them from one address; `None` is any number.
    pub connections_per_address: Option<NonZeroUsize>,
    /// Who is believed when it says for whom it speaks.
    pub trusted_proxies: TrustedProxies,
    /// How they say it.
    pub proxy_protocol: ProxyProtocol,
}

/// Whether trusted proxies begin their connections with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They don't.
    #[default]
    Off,
    /// Every one of their connections must begin with one; others must not.
    Required,
}

/// Bounds of waiting.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For what comes before a connection's first request: a header of the PROXY protocol, and the handshake of TLS.
    pub client_handshake: Duration,
    /// For a client's headers, also those of the next request on an idle connection.
    pub client_headers: Duration,
    /// Between two parts of a client's body.
    pub client_body: Duration,
    /// For a client to take what was sent.
    pub client_stall: Duration,
    /// For the headers of a stream, after which an upstream counts as hanging and another one is asked. OpenRouter sends
    /// them early, and comments while a provider thinks (wire-contract §1.3).
    pub stream_headers: Duration,
    /// For the headers of an answer that isn't streamed. They come early for slow answers too, but that is only observed
    /// (wire-contract §1.2), and whoever gives up such an answer pays for it all the same: it is longer.
    pub whole_headers: Duration,
    /// For the whole of an answer that isn't streamed.
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
            client_handshake: Duration::from_secs(10),
            client_headers: Duration::from_secs(60),
            client_body: Duration::from_secs(30),
            client_stall: Duration::from_secs(60),
            stream_headers: Duration::from_secs(30),
            whole_headers: Duration::from_secs(300),
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
    /// What seals answers that are kept for repeats.
    pub encryption: Arc<EncryptionKeys>,
    /// The connection to upstreams.
    pub upstream: UpstreamClient,
    /// The rate limits; its clock is [`Parts::clock`].
    pub limiter: Limiter,
    /// What the operator set.
    pub settings: Settings,
    /// What answers all other requests.
    pub control_plane: Arc<dyn ControlPlane>,
}

/// What all requests share.
pub struct Gateway {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pseudonyms: KnownPseudonyms,
    pub(crate) upstream: UpstreamClient,
    pub(crate) settings: Settings,
    pub(crate) control_plane: Arc<dyn ControlPlane>,
    pub(crate) keys: KeyCache,
    pub(crate) keys_used: changes::KeysUsed,
    pub(crate) catalog: ArcSwap<Catalog>,
    catalog_turn: tokio::sync::Mutex<()>,
    pub(crate) masters: ArcSwap<Masters>,
    pub(crate) free_quota: FreeQuota,
    pub(crate) limiter: Limiter,
    pub(crate) replica: Arc<Replica>,
    pub(crate) leases: Arc<LeaseKeeper>,
    pub(crate) spool: Arc<Spool>,
    history: History,
    committed: Arc<Committed>,
    /// The database is another one, or an older state: what was read of its change log means nothing.
    pub(crate) change_log_is_another: AtomicBool,
    /// The database did not answer when it was asked last.
    is_cut_off: AtomicBool,
    master_source: Arc<dyn MasterSource>,
    pub(crate) settler: Settler,
    pub(crate) claims: ClaimKeeper,
    pub(crate) in_flight: InFlight,
    pub(crate) body_memory: BodyMemory,
    pub(crate) resolver: Resolver,
    pub(crate) strays: Strays,
    /// Requests, and what works on for them when their clients have gone.
    pub(crate) tracker: TaskTracker,
    /// Set when nothing new is to be admitted.
    pub(crate) stopping: CancellationToken,
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
            encryption,
            upstream,
            limiter,
            settings,
            control_plane,
        } = parts;
        let (history, committed) = (History::open(&data_dir), Arc::<Committed>::default());
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
            committed: Arc::clone(&committed),
        });
        let (resolver, unsettled) = Resolver::new();
        let (claims, claim_loop) = ClaimKeeper::new(
            Arc::clone(&store),
            Arc::clone(&replica),
            Arc::clone(&clock),
            encryption,
        );
        let gateway = Arc::new(Self {
            keys: KeyCache::new(Arc::clone(&store), Arc::clone(&clock)),
            keys_used: changes::KeysUsed::default(),
            catalog: ArcSwap::default(),
            catalog_turn: tokio::sync::Mutex::default(),
            masters: ArcSwap::default(),
            free_quota: FreeQuota::default(),
            in_flight: InFlight::default(),
            body_memory: BodyMemory::default(),
            stopping: CancellationToken::new(),
            store,
            clock,
            metrics,
            pseudonyms: KnownPseudonyms::new(pseudonyms),
            upstream,
            limiter,
            settings,
            control_plane,
            replica,
            leases,
            spool,
            history,
            committed,
            change_log_is_another: AtomicBool::new(false),
            is_cut_off: AtomicBool::new(false),
            master_source,
            settler,
            claims,
            resolver,
            strays: Strays::default(),
            tracker,
        });
        gateway.follow_history().await?;
        gateway.load_masters().await?;
        let background = Background {
            gateway: Arc::clone(&gateway),
            commits,
            landing,
            unsettled,
            claims: claim_loop,
        };
        Ok((gateway, background))
    }

    /// Puts in force what the database has of the price book and of what is on sale.
    pub async fn load_catalog(&self) -> Result<(), StoreError> {
        // One after the other: what was read later must not be replaced by what was read before.
        let _turn = self.catalog_turn.lock().await;
        let rules = self.store.sale_rules().await?;
        let models = self.store.catalog().await?;
        let catalog = Catalog::new(models, rules, &self.metrics);
        self.metrics
            .gauge(Gauge::ModelsOnSale)
            .set(i64::try_from(catalog.all_sold().count()).unwrap_or(0));
        self.catalog.store(Arc::new(catalog));
        Ok(())
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
        let asked = self.history.durable(&self.committed);
        let look = self.store.look(&asked).await?;
        let position = look.position;
        match self.history.compare(&look) {
            Continuity::Continues => {
                self.history.remember(position, &asked, &self.committed);
                return Ok(());
            }
            Continuity::Older { seen, found } => {
                self.metrics.alarm(Alarm::DatabaseOlder);
                tracing::error!(
                    seen,
                    found,
                    missing_requests = look.missing_requests,
                    "the database is older than it was: ledger transactions up to the one seen, which were durable, are missing"
                );
            }
            Continuity::Another => {
                tracing::warn!(database = %position.database, "this is another database than the one before");
            }
        }
        // Its connections may be the same as before.
        self.store.forget_what_was_read();
        self.change_log_is_another.store(true, Ordering::Release);
        self.keys.forget_all();
        self.leases.begin_over().await?;
        // Not before: what failed is to be done again.
        self.history.remember(position, &asked, &self.committed);
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
        let masters = self.masters.load();
        masters.show(self.replica.steady_now());
        set(Gauge::UpstreamRequests, masters.in_flight());
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
