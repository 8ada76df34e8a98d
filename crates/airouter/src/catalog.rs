//! The price book: the upstream's list of models, loaded at start and every hour. While it can't be loaded, the last one
//! stays in force.

pub(crate) mod listing;

use std::sync::Arc;
use std::time::Duration;

use airouter_openrouter::{ControlClient, ControlError};
use airouter_proxy::clock::Clock;
use airouter_proxy::gateway::Gateway;
use airouter_store::prices::PriceProvider;
use airouter_store::{Store, StoreError};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use listing::listed;

const EVERY: Duration = Duration::from_secs(3600);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// Loads the upstream's models into the store.
pub(crate) struct CatalogLoader {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    client: ControlClient,
    key: Option<SecretString>,
}

/// Why the models could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    /// The upstream did not tell.
    #[error(transparent)]
    Upstream(#[from] ControlError),
    /// It told of no model that can be sold. Taking that at its word would stop all sales.
    #[error("the upstream lists no model that can be sold")]
    Empty,
    /// They could not be stored or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CatalogLoader {
    /// A loader that asks `client`, with `key` if there is one.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        client: ControlClient,
        key: Option<SecretString>,
    ) -> Self {
        Self {
            store,
            clock,
            client,
            key,
        }
    }

    /// Loads the models at once, then every hour, until `stop`; each time `gateway` puts them in force. `has_prices` is
    /// set from the first time on.
    pub(crate) async fn run(
        self,
        gateway: Arc<Gateway>,
        has_prices: CancellationToken,
        stop: CancellationToken,
    ) {
        let mut retry = FIRST_RETRY;
        loop {
            let wait = match stop.run_until_cancelled(self.load(&gateway)).await {
                None => return,
                Some(Ok(())) => {
                    has_prices.cancel();
                    retry = FIRST_RETRY;
                    EVERY
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, retry_seconds = retry.as_secs(), "the price book can't be loaded");
                    let wait = retry;
                    retry = retry.saturating_mul(2).min(LONGEST_RETRY);
                    wait
                }
            };
            if stop
                .run_until_cancelled(tokio::time::sleep(wait))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn load(&self, gateway: &Gateway) -> Result<(), CatalogError> {
        let list = self.client.models(self.key.as_ref()).await?;
        let (models, left_out) = listed(list);
        for model in &left_out {
            tracing::info!(
                model = model.id,
                reason = model.reason,
                "a model can't be sold"
            );
        }
        if models.is_empty() {
            return Err(CatalogError::Empty);
        }
        let versions = self
            .store
            .record_models(PriceProvider::OpenRouter, &models, self.clock.now())
            .await?;
        tracing::info!(
            models = models.len(),
            left_out = left_out.len(),
            new_prices = versions,
            "the price book is loaded"
        );
        Ok(gateway.load_catalog().await?)
    }
}
