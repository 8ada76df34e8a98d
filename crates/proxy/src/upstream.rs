//! The connection to upstreams: one pooled HTTP/1.1 client, and bodies as they come.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Uri};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::wire::decode::{DecodeError, Decoder, Encoding};

/// Idle connections that are kept to one upstream.
const IDLE_CONNECTIONS: usize = 1_024;
/// An idle connection is closed after so long: below the 60 to 120 s after which upstreams close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// A new connection must be there within.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A compressed answer may inflate to so much.
const INFLATED_BYTES_MAX: u64 = 256 << 20;

/// The client of the data plane: HTTP/1.1 only, so that one request is one connection, and dropping its body closes it,
/// which is how an upstream learns that a stream is cancelled.
#[derive(Clone)]
pub enum UpstreamClient {
    /// Straight to the upstream.
    Direct(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    /// Through a proxy's CONNECT.
    Proxied(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

impl UpstreamClient {
    /// A client, through `proxy` if there is one (`HTTPS_PROXY`).
    pub fn new(proxy: Option<Uri>) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(Duration::from_secs(30)));
        http.enforce_http(false);
        match proxy {
            None => Self::Direct(pooled(http)),
            Some(proxy) => Self::Proxied(pooled(Tunnel::new(proxy, http))),
        }
    }

    /// Sends a request; resolves when the headers of the answer are there.
    pub async fn send(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        match self {
            Self::Direct(client) => client.request(request).await,
            Self::Proxied(client) => client.request(request).await,
        }
    }
}

fn pooled<C>(connector: C) -> Client<HttpsConnector<C>, Full<Bytes>>
where
    HttpsConnector<C>: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector)
}

/// Why an upstream's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    /// It can't be decoded.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
}

/// An upstream's body, decoded.
pub struct UpstreamBody {
    incoming: Incoming,
    decoder: Option<Decoder>,
}

impl UpstreamBody {
    /// The body of an answer with these headers. Identity was asked for; gzip and deflate are understood all the same.
    pub fn new(headers: &HeaderMap, incoming: Incoming) -> Result<Self, DecodeError> {
        let value = headers
            .get(CONTENT_ENCODING)
            .map(|value| value.to_str().unwrap_or("?"));
        let encoding = Encoding::from_header(value)?;
        let decoder =
            (encoding != Encoding::Identity).then(|| Decoder::new(encoding, INFLATED_BYTES_MAX));
        Ok(Self { incoming, decoder })
    }

    /// The next bytes; `None` at the end. Never empty.
    pub fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(context));
            let bytes = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.decode(bytes),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Err(error.into()),
                None => return Poll::Ready(self.decode_end()),
            };
            match bytes {
                Ok(bytes) if bytes.is_empty() => {}
                bytes => return Poll::Ready(Some(bytes)),
            }
        }
    }

    /// As [`UpstreamBody::poll_bytes`].
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyFault>> {
        std::future::poll_fn(|context| self.poll_bytes(context)).await
    }

    fn decode(&mut self, bytes: Bytes) -> Result<Bytes, BodyFault> {
        match &mut self.decoder {
            None => Ok(bytes),
            Some(decoder) => Ok(decoder.push(bytes)?),
        }
    }

    fn decode_end(&mut self) -> Option<Result<Bytes, BodyFault>> {
        match self.decoder.take()?.finish() {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(bytes)),
            Err(error) => Some(Err(error.into())),
        }
    }
}
