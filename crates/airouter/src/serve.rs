//! Wiring: everything that `serve` consists of, put together and started.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use airouter_limits::{Limiter, RedisBoard};
use airouter_proxy::clock::Clock;
use airouter_proxy::gateway::{Gateway, Parts, Settings, Timeouts, Working};
use airouter_proxy::metrics::Metrics;
use airouter_proxy::server;
use airouter_proxy::server::tls::TlsIdentity;
use airouter_proxy::upstream::UpstreamClient;
use airouter_store::Store;
use airouter_store::master_accounts::UpstreamKind;
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_appender::non_blocking::ErrorCounter;

use crate::accounts::{self, FirstAdmin};
use crate::catalog::CatalogLoader;
use crate::certificate::CertificateWatch;
use crate::clock::SystemClock;
use crate::config::{Config, reachable};
use crate::control_plane;
use crate::lifecycle::Lifecycle;
use crate::master_accounts::{self, OpenedMasterAccount};
use crate::masters::{StoredMasters, control_client};
use crate::metrics_server::MetricsServer;
use crate::plan_schedule::PlanSchedule;
use crate::reconciliation::Routine;
use crate::upstreams::MasterBoard;
use crate::{database, rollups, secret_files, spool};

/// Most connections of clients at the same time.
const MOST_CONNECTIONS: usize = 65_536;
/// How much longer than for a stream's headers one waits for those of other answers.
const WHOLE_HEADERS_FACTOR: u32 = 10;
/// Most keys and accounts whose rates are counted at the same time.
const RATE_KEYS_MAX: usize = 200_000;

/// A server that runs.
pub(crate) struct Server {
    store: Arc<dyn Store>,
    public_url: String,
    metrics_address: SocketAddr,
    first_admin: Option<FirstAdmin>,
    has_prices: CancellationToken,
}

impl Server {
    /// Starts everything; `lifecycle` stops it.
    pub(crate) async fn start(
        config: &Config,
        dropped_lines: ErrorCounter,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = database::open(&config.storage, database::OpenMode::Serve).await?;
        let encryption = secret_files::encryption_keys(config)?;
        let opened =
            master_accounts::synchronize(&*store, &encryption, &config.upstream, clock.now())
                .await?;
        let metrics = Arc::new(Metrics::new()?);
        let metrics_server =
            MetricsServer::bind(config.listeners.metrics, metrics.registry(), dropped_lines)
                .await
                .with_context(|| format!("can't listen on {}", config.listeners.metrics))?;
        let metrics_address = metrics_server.address()?;
        let listener = server::bind(config.listeners.clients)
            .with_context(|| format!("can't listen on {}", config.listeners.clients))?;
        let certificate = match &config.connections.tls {
            Some(files) => {
                Some(CertificateWatch::start(files.clone(), Arc::clone(&metrics)).await?)
            }
            None => None,
        };
        let public_url = config
            .listeners
            .public_url(config.connections.scheme(), listener.local_addr()?);

        let board = MasterBoard::default();
        let (gateway, background) = Gateway::start(Parts {
            store: Arc::clone(&store),
            spool: spool::open(&config.storage.data_dir)?,
            data_dir: config.storage.data_dir.clone(),
            masters: Arc::new(StoredMasters {
                store: Arc::clone(&store),
                encryption,
                upstream: config.upstream.clone(),
                metrics: Arc::clone(&metrics),
                board: board.clone(),
            }),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            pseudonyms: secret_files::pseudonyms(config)?,
            encryption: Arc::new(secret_files::encryption_keys(config)?),
            upstream: UpstreamClient::new(config.upstream.https_proxy.as_ref())
                .context("HTTPS_PROXY")?,
            limiter: limiter(config, &clock, lifecycle)?,
            settings: settings(config),
            control_plane: control_plane::new(config, &store, &clock, board, &public_url)?,
        })
        .await?;
        let loader = catalog_loader(config, &store, &clock, &opened)?;
        gateway.load_catalog().await?;
        let working = background.start().await?;
        // Last of all that may fail: a generated password is shown once.
        let first_admin = accounts::first_admin(&*store, &config.secrets, clock.now()).await?;

        let stop = lifecycle.soft.clone();
        let observers = &lifecycle.observers;
        observers.spawn(metrics_server.run(observers.clone(), lifecycle.hard.clone()));
        let has_prices = CancellationToken::new();
        let loading = loader.run(Arc::clone(&gateway), has_prices.clone(), stop);
        lifecycle.tasks.spawn(loading);
        let comparing = Routine {
            store: Arc::clone(&store),
            encryption: secret_files::encryption_keys(config)?,
            upstream: config.upstream.clone(),
            metrics: Arc::clone(&metrics),
            after: config.upstream.reconcile_after,
        };
        lifecycle.tasks.spawn(comparing.run(lifecycle.soft.clone()));
        let schedule = PlanSchedule {
            store: Arc::clone(&store),
            clock,
        };
        lifecycle.tasks.spawn(schedule.run(lifecycle.soft.clone()));
        let summing = rollups::run(Arc::clone(&store), lifecycle.soft.clone());
        lifecycle.tasks.spawn(summing);
        let identity = certificate.as_ref().map(CertificateWatch::identity);
        if let Some(certificate) = certificate {
            lifecycle
                .tasks
                .spawn(certificate.run(lifecycle.soft.clone()));
        }
        let clients = Clients { listener, identity };
        lifecycle
            .tasks
            .spawn(serve(gateway, clients, working, lifecycle.clone()));
        tracing::info!(url = public_url, metrics = %metrics_address, "serving");
        Ok(Self {
            store,
            public_url,
            metrics_address: reachable(metrics_address),
            first_admin,
            has_prices,
        })
    }

    /// The database.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Waits until the upstream's prices are loaded.
    pub(crate) async fn wait_for_prices(&self) {
        self.has_prices.cancelled().await;
    }

    /// Where clients reach it, without a slash at the end.
    pub(crate) fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Where `/metrics` is.
    pub(crate) const fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// The lines that show a generated admin password.
    pub(crate) fn first_admin_lines(&self) -> Vec<String> {
        self.first_admin
            .as_ref()
            .map(FirstAdmin::lines)
            .unwrap_or_default()
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        default_model: config.upstream.default_model.clone(),
        max_body_bytes: u64::try_from(config.listeners.max_body_bytes).unwrap_or(u64::MAX),
        timeouts: timeouts(config.connections.idle, config.upstream.stream_headers),
        credit_every: config.upstream.credit_every,
        max_connections: MOST_CONNECTIONS,
        answer_headers: config.listeners.answer_headers,
        allowed_origins: config.listeners.allowed_origins.clone(),
        connections_per_address: config.connections.per_address,
        trusted_proxies: config.connections.trusted_proxies.iter().copied().collect(),
        proxy_protocol: config.connections.proxy_protocol,
    }
}

/// How long clients are waited for. A body may pause for less time than a connection.
fn timeouts(idle: Duration, stream_headers: Duration) -> Timeouts {
    let defaults = Timeouts::default();
    Timeouts {
        client_handshake: defaults.client_handshake.min(idle),
        client_headers: idle,
        client_body: defaults.client_body.min(idle),
        client_stall: idle,
        stream_headers,
        whole_headers: stream_headers * WHOLE_HEADERS_FACTOR,
        ..defaults
    }
}

/// Where clients connect, and what they see there.
struct Clients {
    listener: TcpListener,
    identity: Option<Arc<TlsIdentity>>,
}

/// The rate limits: shared with other replicas where there is a Redis.
fn limiter(
    config: &Config,
    clock: &Arc<dyn Clock>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Limiter> {
    let Some(url) = &config.storage.redis else {
        return Ok(Limiter::new(RATE_KEYS_MAX));
    };
    let board = RedisBoard::open(url.expose_secret()).context("REDIS_URL")?;
    let clock = Arc::clone(clock);
    let moment = Arc::new(move || clock.moment());
    let (limiter, publisher) = Limiter::shared(RATE_KEYS_MAX, board, moment);
    // It goes on until the last request has ended.
    lifecycle
        .observers
        .spawn(publisher.run(lifecycle.hard.clone()));
    Ok(limiter)
}

/// The models of the configured upstream; asked for with the first of its keys, for an upstream that wants one.
fn catalog_loader(
    config: &Config,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    masters: &[OpenedMasterAccount],
) -> anyhow::Result<CatalogLoader> {
    let base_url = &config.upstream.base_url;
    let key = masters
        .iter()
        .find(|master| {
            master.account.kind == UpstreamKind::OpenRouter && master.account.base_url == *base_url
        })
        .and_then(|master| Some(master.keys.first()?.1.clone()));
    let client = control_client(base_url, &config.upstream)?;
    Ok(CatalogLoader::new(
        Arc::clone(store),
        Arc::clone(clock),
        client,
        key,
    ))
}

/// Serves clients until the soft stop, then waits until all that was served is settled.
async fn serve(gateway: Arc<Gateway>, clients: Clients, working: Working, lifecycle: Lifecycle) {
    let connections = server::serve(
        Arc::clone(&gateway),
        clients.listener,
        clients.identity,
        lifecycle.soft.clone(),
        lifecycle.hard.clone(),
    );
    let stop_admitting = async {
        lifecycle.soft.cancelled().await;
        gateway.stop_admitting();
    };
    tokio::join!(connections, stop_admitting);
    // Cut off or not: what was metered is committed, as far as there is time.
    working.stop(lifecycle.hard.clone()).await;
    tracing::info!("everything that was served is settled");
}
