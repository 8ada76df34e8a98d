//! The control plane, as the data plane's listener sees it.

use std::net::IpAddr;
use std::sync::Arc;

use airouter_api::{Api, Parts, RequestBody};
use airouter_proxy::clock::Clock;
use airouter_proxy::control_plane::ControlPlane;
use airouter_store::Store;
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

#[async_trait]
impl ControlPlane for JsonApi {
    fn serves(&self, path: &str) -> bool {
        Api::serves(path)
    }

    async fn answer(&self, request: Request<Incoming>, address: IpAddr) -> Response<Bytes> {
        self.0.answer(request.map(RequestBody::new), address).await
    }
}
