//! The listener of the data plane: accepts connections, bounds them, and lets them end.

mod address_limit;
mod connection;
mod http1;
mod http2;
pub mod proxy_header;
mod streams;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;
use address_limit::AddressLimit;
use tls::TlsIdentity;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;
/// After an error of `accept` that is the machine's (no file handles left), the next attempt waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds a listener for the data plane.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `stop`; then accepts nothing more, and lets the requests that run finish. Resolves when every connection
/// has ended; `cut` ends them at once. With an identity, all connections must speak TLS.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    identity: Option<Arc<TlsIdentity>>,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(gateway.settings.max_connections));
    let shared = Arc::new(Shared {
        address_limit: AddressLimit::new(gateway.settings.connections_per_address),
        gateway,
        identity,
        connections: TaskTracker::new(),
        stop,
        cut,
    });
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, address, place)) => {
                let serving = connection::serve(Arc::clone(&shared), stream, address.ip());
                shared.connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    shared.connections.close();
    shared.connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address, place))
}

/// What all connections share.
struct Shared {
    gateway: Arc<Gateway>,
    /// Without one, nobody speaks TLS.
    identity: Option<Arc<TlsIdentity>>,
    address_limit: AddressLimit,
    /// The connections, and the requests on those that carry many.
    connections: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}
