//! Serves HTTP/1.1 on one connection.

use std::convert::Infallible;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use crate::client_address::Peer;
use crate::service;

/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Most bytes of a request's head, and of a connection's buffers.
const BUFFER_BYTES: usize = 64 << 10;

pub(super) async fn serve<S>(shared: &Shared, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let gateway = Arc::clone(&shared.gateway);
        async move { Ok::<_, Infallible>(service::answer(gateway, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.gateway.settings.timeouts.client_headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.cut.cancelled() => return,
        () = shared.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = shared.cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
