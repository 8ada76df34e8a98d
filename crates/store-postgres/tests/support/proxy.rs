//! A server's address that can be made to hang, to end its connections, and to refuse new ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::until;

/// What becomes of bytes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// They pass.
    Flows,
    /// Nothing moves, and nothing is said.
    Hangs,
    /// Connections with smaller numbers hang; later ones pass.
    HangsBefore(usize),
    /// A connection on which something is committed ends when the server has done so, and nobody is told.
    EndsAtCommit,
    /// Connections end, also new ones.
    Ends,
}

/// A proxy in front of the server; it ends with this.
pub(crate) struct Proxy {
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

impl Traffic {
    fn lets_pass(self, number: usize) -> bool {
        match self {
            Self::Flows | Self::EndsAtCommit | Self::Ends => true,
            Self::Hangs => false,
            Self::HangsBefore(first) => number >= first,
        }
    }
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    refused: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (traffic, watched) = watch::channel(Traffic::Flows);
        let mut tasks = JoinSet::new();
        let counts = Arc::new(Counts::default());
        tasks.spawn(accept(listener, server, watched, Arc::clone(&counts)));
        Self {
            address,
            traffic,
            counts,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }

    /// Connections that are open hang for ever; new ones pass.
    pub(crate) fn freeze(&self) {
        let accepted = self.counts.accepted.load(Ordering::SeqCst);
        self.set(Traffic::HangsBefore(accepted));
    }

    /// Ends every connection; new ones pass.
    pub(crate) async fn cut(&self) {
        self.set(Traffic::Ends);
        until(async || self.counts.open.load(Ordering::SeqCst) == 0).await;
        self.set(Traffic::Flows);
    }

    /// How many connections it has refused.
    pub(crate) fn refused(&self) -> usize {
        self.counts.refused.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    server: String,
    traffic: watch::Receiver<Traffic>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *traffic.borrow() == Traffic::Ends {
            counts.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let Ok(server) = TcpStream::connect(&server).await else {
            continue;
        };
        let number = counts.accepted.fetch_add(1, Ordering::SeqCst);
        counts.open.fetch_add(1, Ordering::SeqCst);
        let (mut watched, counts) = (traffic.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            tokio::select! {
                () = relay(client, server, number, watched.clone()) => {}
                _ = watched.wait_for(|traffic| *traffic == Traffic::Ends) => {}
            }
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    number: usize,
    traffic: watch::Receiver<Traffic>,
) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let commits = AtomicBool::new(false);
    let asked = |bytes: &[u8]| {
        let is_commit = bytes.windows(6).any(|word| word == b"COMMIT");
        if is_commit && *traffic.borrow() == Traffic::EndsAtCommit {
            commits.store(true, Ordering::SeqCst);
        }
        After::GoesOn
    };
    // What the server says after a commit is not passed on.
    let answered = |_: &[u8]| {
        if commits.load(Ordering::SeqCst) {
            After::Ends
        } else {
            After::GoesOn
        }
    };
    tokio::select! {
        () = pump(from_client, to_server, number, traffic.clone(), asked) => {}
        () = pump(from_server, to_client, number, traffic.clone(), answered) => {}
    }
}

/// What becomes of a connection after some bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    GoesOn,
    Ends,
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    mut traffic: watch::Receiver<Traffic>,
    look_at: impl Fn(&[u8]) -> After,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if look_at(&buffer[..count]) == After::Ends {
            return;
        }
        let waited = traffic
            .wait_for(|traffic| traffic.lets_pass(number))
            .await
            .is_ok();
        if !waited || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
