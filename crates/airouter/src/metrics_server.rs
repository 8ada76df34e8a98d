//! `/metrics` on its own listener, for Prometheus.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounter, Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_appender::non_blocking::ErrorCounter;

/// Scrapers are few.
const MOST_CONNECTIONS: usize = 32;
/// A connection that sends nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(75);
/// A connection lives at most so long, whatever it does.
const LONGEST_CONNECTION: Duration = Duration::from_secs(600);
/// The wait after an accept that failed (no file descriptors left).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves the metrics of a registry.
pub(crate) struct MetricsServer {
    listener: TcpListener,
    page: Arc<Page>,
}

/// What is served, and the log's own metric, which is read when it is asked for.
struct Page {
    registry: Registry,
    dropped_lines: IntCounter,
    dropped: ErrorCounter,
}

impl MetricsServer {
    /// Binds `address`. The log's dropped lines and the version are shown among the metrics of `registry`.
    pub(crate) async fn bind(
        address: SocketAddr,
        registry: &Registry,
        dropped: ErrorCounter,
    ) -> anyhow::Result<Self> {
        let dropped_lines = IntCounter::new(
            "airouter_log_lines_dropped_total",
            "Log lines that nobody read in time.",
        )?;
        registry.register(Box::new(dropped_lines.clone()))?;
        let build = prometheus::IntGaugeVec::new(
            prometheus::Opts::new("airouter_build_info", "Always 1; the version is a label."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            page: Arc::new(Page {
                registry: registry.clone(),
                dropped_lines,
                dropped,
            }),
        })
    }

    /// The address that is bound.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    pub(crate) async fn run(self, tasks: TaskTracker, stop: CancellationToken) {
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                continue;
            };
            let (page, stop) = (Arc::clone(&self.page), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = tokio::time::timeout(LONGEST_CONNECTION, serve(stream, page)) => {}
                }
                drop(permit);
            });
        }
    }
}

async fn serve(stream: TcpStream, page: Arc<Page>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = page.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    // A scraper that breaks off is no event.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Page {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" {
            return status(StatusCode::NOT_FOUND);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match self.text() {
            Ok(text) => {
                let mut response = Response::new(Full::new(Bytes::from(text)));
                response.headers_mut().insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static(prometheus::TEXT_FORMAT),
                );
                response
            }
            Err(error) => {
                tracing::error!(%error, "the metrics can't be written");
                status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    fn text(&self) -> prometheus::Result<String> {
        let dropped = u64::try_from(self.dropped.dropped_lines()).unwrap_or(u64::MAX);
        self.dropped_lines
            .inc_by(dropped.saturating_sub(self.dropped_lines.get()));
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
