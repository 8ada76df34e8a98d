//! What answers requests for paths that the data plane doesn't know. Only those ask for it.

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

/// Everything but the data plane.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// Whether a path is its own; what is nobody's is refused in the data plane's form.
    fn serves(&self, path: &str) -> bool;

    /// Answers a request for such a path, of a client at `address`, within a bound of time.
    async fn answer(&self, request: Request<Incoming>, address: IpAddr) -> Response<Bytes>;
}
