//! Serves HTTP/2 on one connection.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::streams::Streams;
use crate::client_address::Peer;
use crate::service;

/// Most requests at the same time on one connection.
const MAX_STREAMS: u32 = 256;
/// Most bytes of a request's head, with 32 for each header.
const HEADER_BYTES: u32 = 64 << 10;
/// What a client may send ahead of a request's being read: of one request, and of all on a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is kept of an answer that the client has no window for.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Requests that were reset before they were looked at, and streams that we reset for errors of the client: more of them
/// end the connection (CVE-2023-44487 and its like).
const PENDING_RESETS: usize = 20;
const ERROR_RESETS: usize = 1_024;
/// A client that does not answer a ping is gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// After a connection was told to end, one on which nothing ran for so long is closed.
const LAST_BYTES: Duration = Duration::from_secs(5);
/// How often a connection that was told to end is looked at.
const CLOSING_TICK: Duration = Duration::from_millis(200);

pub(super) async fn serve<S>(shared: &Shared, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let streams = Arc::new(Streams::new());
    let answer = service_fn(|request: Request<Incoming>| {
        let gateway = Arc::clone(&shared.gateway);
        let stream = streams.begin();
        async move {
            let response = service::answer(gateway, peer, request).await;
            Ok::<_, Infallible>(response.map(|body| stream.carry(body)))
        }
    });
    let connection = builder(&shared.connections).serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let timeouts = shared.gateway.settings.timeouts;
    let mut watch = watch_every(timeouts.client_stall.min(timeouts.client_headers) / 4);
    let mut is_closing = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = shared.cut.cancelled() => return,
            () = shared.stop.cancelled(), if !is_closing => {}
            _ = watch.tick() => {
                streams.drop_stalled(timeouts.client_stall);
                let quiet_for = streams.quiet_for().unwrap_or_default();
                if is_closing && quiet_for >= LAST_BYTES.min(timeouts.client_headers) {
                    return;
                }
                if is_closing || quiet_for < timeouts.client_headers {
                    continue;
                }
            }
        }
        is_closing = true;
        connection.as_mut().graceful_shutdown();
        watch = watch_every(CLOSING_TICK);
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn builder(tasks: &TaskTracker) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(Tasks(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn watch_every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}

/// Runs each request of a connection in a task that shutdown waits for.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, request: F) {
        self.0.spawn(request);
    }
}
