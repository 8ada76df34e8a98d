//! A bare pass-through proxy: bodies stream frame by frame, nothing is metered. The yardstick of benchmarks.

use std::{io, net::SocketAddr};

use http::{Request, Response, StatusCode, Uri, header, uri};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::listener::Listening;

/// Idle connections to the upstream that are kept.
const IDLE_CONNECTIONS: usize = 16_384;

type Forwarder = Client<HttpConnector, Incoming>;
type PassedBody = BoxBody<Bytes, hyper::Error>;

/// A bare proxy that is listening; dropping it stops it without waiting.
#[derive(Debug)]
pub struct RunningBare {
    listening: Listening,
}

impl RunningBare {
    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Stops: running answers get a moment to end.
    pub async fn shutdown(self) {
        self.listening.shutdown().await;
    }
}

/// Passes every request on to `upstream` (plain HTTP/1.1). Run it on a current-thread runtime to compare one core.
///
/// # Errors
/// When the address can't be bound.
pub async fn start(listen: SocketAddr, upstream: SocketAddr) -> io::Result<RunningBare> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Forwarder = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector);
    let authority = uri::Authority::try_from(upstream.to_string())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let service = service_fn(move |request| forward(client.clone(), authority.clone(), request));
    Ok(RunningBare {
        listening: Listening::start(listen, service)?,
    })
}

async fn forward(
    client: Forwarder,
    authority: uri::Authority,
    mut request: Request<Incoming>,
) -> Result<Response<PassedBody>, http::Error> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts)?;
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    match client.request(request).await {
        Ok(response) => Ok(response.map(BodyExt::boxed)),
        Err(error) => {
            tracing::debug!(%error, "the upstream can't be reached");
            let empty = Empty::new().map_err(|never| match never {}).boxed();
            Response::builder()
                .status(StatusCode::BAD_GATEWAY)
                .body(empty)
        }
    }
}
