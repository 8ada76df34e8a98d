//! Wiring: everything that `serve` consists of, put together and started.

use std::net::SocketAddr;
use std::sync::Arc;

use airouter_openrouter::{ControlClient, ControlTimeouts};
use airouter_proxy::catalog::Catalog;
use airouter_proxy::clock::Clock;
use airouter_proxy::gateway::{Gateway, Parts, Settings, Timeouts, Working};
use airouter_proxy::masters::{Master, MasterParts, Masters};
use airouter_proxy::metrics::Metrics;
use airouter_proxy::server;
use airouter_proxy::upstream::UpstreamClient;
use airouter_store::Store;
use airouter_store_sqlite::OpenMode;
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_appender::non_blocking::ErrorCounter;

use crate::accounts::{self, FirstAdmin};
use crate::catalog::CatalogLoader;
use crate::clock::SystemClock;
use crate::config::{Config, Upstream, reachable};
use crate::lifecycle::Lifecycle;
use crate::master_accounts::{self, OpenedMasterAccount};
use crate::metrics_server::MetricsServer;
use crate::{database, secret_files};

/// Most connections of clients at the same time.
const MOST_CONNECTIONS: usize = 65_536;

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
        let store = database::open(&config.storage, OpenMode::Serve).await?;
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
        let public_url = config.listeners.public_url(listener.local_addr()?);

        let (gateway, background) = Gateway::start(Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            pseudonyms: secret_files::pseudonyms(config)?,
            upstream: UpstreamClient::new(config.upstream.https_proxy.as_ref())
                .context("HTTPS_PROXY")?,
            settings: settings(config),
        })
        .await?;
        let loader = catalog_loader(config, &store, &clock, &opened)?;
        gateway.set_masters(masters(opened, &config.upstream, &metrics));
        gateway.set_catalog(Catalog::new(loader.stored().await?, &metrics));
        let working = background.start().await?;
        // Last of all that may fail: a generated password is shown once.
        let first_admin = accounts::first_admin(&*store, &config.secrets, clock.now()).await?;

        let stop = lifecycle.soft.clone();
        let observers = &lifecycle.observers;
        observers.spawn(metrics_server.run(observers.clone(), lifecycle.hard.clone()));
        let has_prices = CancellationToken::new();
        let publish = {
            let (gateway, metrics) = (Arc::clone(&gateway), Arc::clone(&metrics));
            let has_prices = has_prices.clone();
            move |models| {
                gateway.set_catalog(Catalog::new(models, &metrics));
                has_prices.cancel();
            }
        };
        lifecycle.tasks.spawn(loader.run(publish, stop));
        lifecycle
            .tasks
            .spawn(serve(gateway, listener, working, lifecycle.clone()));
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
        timeouts: Timeouts::default(),
        max_connections: MOST_CONNECTIONS,
    }
}

fn control_client(base_url: &str, upstream: &Upstream) -> anyhow::Result<ControlClient> {
    ControlClient::new(
        base_url,
        ControlTimeouts::default(),
        upstream.https_proxy.as_ref(),
    )
    .with_context(|| format!("the upstream {base_url} can't be used"))
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
        .find(|master| master.account.base_url == *base_url)
        .map(|master| master.key.clone());
    let client = control_client(base_url, &config.upstream)?;
    Ok(CatalogLoader::new(
        Arc::clone(store),
        Arc::clone(clock),
        client,
        key,
    ))
}

/// The master accounts as requests see them; one that can't be used is reported and left out.
fn masters(opened: Vec<OpenedMasterAccount>, upstream: &Upstream, metrics: &Metrics) -> Masters {
    let usable = opened.into_iter().filter_map(|opened| {
        let name = opened.account.name.clone();
        match master(opened, upstream, metrics) {
            Ok(master) => Some(Arc::new(master)),
            Err(error) => {
                tracing::error!(name, error = %format!("{error:#}"), "a master account can't be used");
                None
            }
        }
    });
    Masters::new(usable.collect())
}

fn master(
    OpenedMasterAccount { account, key }: OpenedMasterAccount,
    upstream: &Upstream,
    metrics: &Metrics,
) -> anyhow::Result<Master> {
    let control = control_client(&account.base_url, upstream)?;
    Ok(Master::new(MasterParts {
        id: account.id,
        metrics: metrics.for_master(&account.name),
        name: account.name,
        discount: account.discount,
        base_url: account.base_url,
        key,
        control,
    })?)
}

/// Serves clients until the soft stop, then waits until all that was served is settled.
async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    working: Working,
    lifecycle: Lifecycle,
) {
    let connections = server::serve(
        Arc::clone(&gateway),
        listener,
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
