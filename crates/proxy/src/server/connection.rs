//! One connection, from its first byte: who it is, whether it may stay, and what it speaks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::tls::{HTTP2, TlsIdentity};
use super::{Shared, http1, http2, proxy_header};
use crate::client_address::Peer;
use crate::gateway::ProxyProtocol;
use crate::metrics::Rejection;
use crate::stall::StallGuard;

/// A record of TLS in which a handshake begins (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// What is read of a request that came without TLS, so that its sender gets the answer before the connection is reset.
const PLAIN_REQUEST_BYTES: usize = 64 << 10;
/// For so long.
const PLAIN_REQUEST_TIME: Duration = Duration::from_secs(2);
const PLAIN_ANSWER: &str = r#"{"error":{"message":"This server speaks TLS: write https:// in the base URL.","type":"invalid_request_error","param":null,"code":"tls_required"}}"#;

/// A connection that speaks TLS.
type Encrypted = TlsStream<StallGuard<TcpStream>>;

/// Serves a connection until it ends.
pub(super) async fn serve(shared: Arc<Shared>, mut stream: TcpStream, address: std::net::IpAddr) {
    let _counted = shared.gateway.metrics.connection_opened();
    let settings = &shared.gateway.settings;
    let mut peer = settings.trusted_proxies.peer(address);
    if let (Peer::Proxy(_), ProxyProtocol::Required) = (peer, settings.proxy_protocol) {
        let source = async {
            // Who comes and leaves without a word only looks whether somebody listens.
            match stream.peek(&mut [0]).await? {
                0 => Ok(None),
                _ => proxy_header::read(&mut stream).await,
            }
        };
        match shared.in_time(source).await {
            // What it says of itself without naming anybody is not passed on by a proxy that reads requests: a forwarding
            // header there is the client's own.
            Ok(None) => peer = Peer::Client(address),
            Ok(Some(source)) => peer = settings.trusted_proxies.peer(source),
            Err(rejected) => return shared.reject(rejected.unwrap_or(Rejection::ProxyHeader)),
        }
    }
    let Ok(_place) = shared.address_limit.enter(peer) else {
        return shared.reject(Rejection::AddressLimit);
    };
    let Some(identity) = &shared.identity else {
        let stream = StallGuard::new(stream, settings.timeouts.client_stall);
        return http1::serve(&shared, peer, stream).await;
    };
    // In boxes of their own, so that a connection without TLS does not take the room of one.
    let Some(encrypted) = Box::pin(handshake(&shared, identity, stream)).await else {
        return;
    };
    if encrypted.get_ref().1.alpn_protocol() == Some(HTTP2) {
        Box::pin(http2::serve(&shared, peer, encrypted)).await;
    } else {
        Box::pin(http1::serve(&shared, peer, encrypted)).await;
    }
}

/// Agrees on keys. `None`: it came to nothing, and is counted.
async fn handshake(
    shared: &Shared,
    identity: &TlsIdentity,
    stream: TcpStream,
) -> Option<Encrypted> {
    let patience = shared.gateway.settings.timeouts.client_stall;
    let shaken = shared.in_time(async move {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(Spoken::Nothing);
        }
        match first[0] {
            HANDSHAKE_RECORD => {
                let guarded = StallGuard::new(stream, patience);
                let encrypted = identity.acceptor().accept(guarded).await?;
                Ok(Spoken::Tls(Box::new(encrypted)))
            }
            letter if letter.is_ascii_uppercase() => Ok(Spoken::PlainHttp(stream)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    });
    match shaken.await {
        Ok(Spoken::Tls(encrypted)) => return Some(*encrypted),
        Ok(Spoken::Nothing) => {}
        Ok(Spoken::PlainHttp(mut stream)) => {
            shared.reject(Rejection::PlainHttp);
            // Whether the answer arrives is the client's affair.
            let _ = timeout(PLAIN_REQUEST_TIME, answer_in_plain(&mut stream)).await;
        }
        Err(rejected) => shared.reject(rejected.unwrap_or(Rejection::TlsHandshake)),
    }
    None
}

/// What a connection begins with where TLS is asked for.
enum Spoken {
    Tls(Box<Encrypted>),
    PlainHttp(TcpStream),
    /// Whoever it was left without a word.
    Nothing,
}

/// Says that TLS is spoken here.
async fn answer_in_plain(stream: &mut TcpStream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{PLAIN_ANSWER}",
        PLAIN_ANSWER.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = PLAIN_REQUEST_BYTES;
    let mut buffer = [0; 4_096];
    while unread > 0 {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => unread = unread.saturating_sub(count),
        }
    }
    Ok(())
}

impl Shared {
    /// What comes before a connection's first request has its own, short time; and none once the server stops. An error
    /// without a reason is that of the connection itself.
    async fn in_time<T>(
        &self,
        beginning: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Option<Rejection>> {
        tokio::select! {
            done = timeout(self.gateway.settings.timeouts.client_handshake, beginning) => match done {
                Ok(done) => done.map_err(|error| {
                    tracing::debug!(%error, "a connection began badly");
                    None
                }),
                Err(_) => Err(Some(Rejection::HandshakeTimeout)),
            },
            () = self.stop.cancelled() => Err(Some(Rejection::Stopping)),
        }
    }

    fn reject(&self, reason: Rejection) {
        tracing::debug!(reason = reason.name(), "a connection was closed");
        self.gateway.metrics.connection_rejected(reason);
    }
}
