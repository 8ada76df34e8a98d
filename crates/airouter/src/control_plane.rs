//! The control plane, as the data plane's listener sees it.

use std::net::IpAddr;
use std::sync::Arc;

use airouter_api::{Api, LoginProvider, Parts, RequestBody};
use airouter_oidc::{Provider, ProviderSettings};
use airouter_proxy::clock::Clock;
use airouter_proxy::control_plane::ControlPlane;
use airouter_store::Store;
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::config::Config;
use crate::mail;
use crate::secret_files;
use crate::upstreams::{MasterBoard, OperatorUpstreams};

struct JsonApi(Api);

/// The control plane over this database.
pub(crate) fn new(
    config: &Config,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    board: MasterBoard,
    public_url: &str,
) -> anyhow::Result<Arc<dyn ControlPlane>> {
    let clock = Arc::clone(clock);
    let api = Api::new(Parts {
        store: Arc::clone(store),
        tokens: secret_files::token_keys(config)?,
        encryption: secret_files::encryption_keys(config)?,
        registration: config.registration,
        login_provider: login_provider(config, public_url)?,
        upstreams: Arc::new(OperatorUpstreams {
            encryption: secret_files::encryption_keys(config)?,
            upstream: config.upstream.clone(),
            board,
        }),
        mail: mail::new(config.links),
        public_url: public_url.to_owned(),
        settings: config.settings(),
        now: Arc::new(move || clock.now()),
    })?;
    Ok(Arc::new(JsonApi(api)))
}

fn login_provider(config: &Config, public_url: &str) -> anyhow::Result<Option<LoginProvider>> {
    let Some(oidc) = &config.oidc else {
        return Ok(None);
    };
    let client = Provider::new(ProviderSettings {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: oidc.client_secret.clone(),
        scopes: oidc.scopes.clone(),
        redirect_uri: format!("{public_url}{}", LoginProvider::CALLBACK),
        https_proxy: config.upstream.https_proxy.clone(),
    })
    .context("AIROUTER_OIDC_ISSUER")?;
    Ok(Some(LoginProvider {
        name: oidc.name.clone(),
        client,
    }))
}

#[async_trait]
impl ControlPlane for JsonApi {
    fn serves(&self, path: &str) -> bool {
        Api::serves(path)
    }

    async fn answer(&self, request: Request<Incoming>, address: IpAddr) -> Response<Bytes> {
        self.0.answer(request.map(RequestBody::new), address).await
    }
}
