//! The connection to upstreams: one pooled HTTP/1.1 client, and bodies as they come.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Uri};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret, SecretString};

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
pub struct UpstreamClient {
    direct: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// For https upstreams, through a proxy's CONNECT.
    proxied: Option<Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>>,
}

/// A proxy that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a proxy is given as http://[USER:PASSWORD@]HOST:PORT")]
pub struct InvalidProxy;

impl UpstreamClient {
    /// A client; https upstreams are reached through `proxy` if there is one (`HTTPS_PROXY`).
    pub fn new(proxy: Option<&SecretString>) -> Result<Self, InvalidProxy> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(Duration::from_secs(30)));
        http.enforce_http(false);
        let tunnel = proxy.map(|proxy| tunnel(proxy, http.clone())).transpose()?;
        Ok(Self {
            direct: pooled(http),
            proxied: tunnel.map(pooled),
        })
    }

    /// Sends a request; resolves when the headers of the answer are there.
    pub async fn send(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        match &self.proxied {
            Some(proxied) if request.uri().scheme() == Some(&Scheme::HTTPS) => {
                proxied.request(request).await
            }
            Some(_) | None => self.direct.request(request).await,
        }
    }
}

fn tunnel(
    proxy: &SecretString,
    http: HttpConnector,
) -> Result<Tunnel<HttpConnector>, InvalidProxy> {
    let address = proxy.expose_secret();
    let rest = address.strip_prefix("http://").ok_or(InvalidProxy)?;
    let (credentials, host) = match rest.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, rest),
    };
    let uri: Uri = format!("http://{host}").parse().map_err(|_| InvalidProxy)?;
    let tunnel = Tunnel::new(uri, http);
    let Some(credentials) = credentials else {
        return Ok(tunnel);
    };
    let plain = percent_encoding::percent_decode_str(credentials).collect::<Vec<u8>>();
    let basic = format!("Basic {}", BASE64_STANDARD.encode(plain));
    let mut header = HeaderValue::from_str(&basic).map_err(|_| InvalidProxy)?;
    header.set_sensitive(true);
    Ok(tunnel.with_auth(header))
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What the proxy is asked when a request goes to an https upstream.
    async fn asked_of_the_proxy(credentials: &str) -> String {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{credentials}{}", proxy.local_addr().unwrap());
        let client = UpstreamClient::new(Some(&address.into())).unwrap();
        let request = http::Request::post("https://upstream.test/api/v1/chat/completions");
        let sent = client.send(request.body(Full::default()).unwrap());
        let answer = async {
            let (mut stream, _) = proxy.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                .await
                .unwrap();
            head.truncate(length);
            String::from_utf8(head).unwrap()
        };
        let (sent, asked) = tokio::join!(sent, answer);
        assert!(sent.is_err());
        asked
    }

    #[tokio::test]
    async fn an_https_upstream_is_reached_through_the_proxy_with_its_credentials() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let asked = asked_of_the_proxy("ann:p%40ss@").await;
        assert!(
            asked.starts_with("CONNECT upstream.test:443 HTTP/1.1\r\n"),
            "{asked}"
        );
        // Base64 of ann:p@ss
        assert!(
            asked
                .to_ascii_lowercase()
                .contains("proxy-authorization: basic yw5uonbac3m="),
            "{asked}"
        );
        let asked = asked_of_the_proxy("").await;
        assert!(
            !asked.to_ascii_lowercase().contains("authorization"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn an_https_upstream_is_spoken_to_in_tls_and_http_1() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}/",
            upstream.local_addr().unwrap().port()
        );
        let client = UpstreamClient::new(None).unwrap();
        let sent = client.send(http::Request::post(url).body(Full::default()).unwrap());
        let hello = async {
            let (mut stream, _) = upstream.accept().await.unwrap();
            let mut hello = vec![0; 4096];
            let length = stream.read(&mut hello).await.unwrap();
            hello.truncate(length);
            hello
        };
        let (sent, hello) = tokio::join!(sent, hello);
        assert!(sent.is_err_and(|error| error.is_connect()));
        // RFC 8446: a handshake record; RFC 7301: HTTP/2 is not offered.
        assert_eq!(hello.first(), Some(&0x16));
        let offers = |protocol: &[u8]| hello.windows(protocol.len()).any(|part| part == protocol);
        assert!(!offers(b"\x02h2"));
    }

    #[test]
    fn a_proxy_that_is_none_is_refused() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        for address in ["socks5://h:1", "h:1", "http://a b"] {
            assert!(
                UpstreamClient::new(Some(&address.into())).is_err(),
                "{address}"
            );
        }
    }
}
