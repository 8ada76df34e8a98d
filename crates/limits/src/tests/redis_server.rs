//! A Redis server: the one that `TEST_REDIS_URL` names, or a throw-away one.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use redis::FromRedisValue;
use tempfile::TempDir;

use crate::redis_board::RedisBoard;

/// Where the tests' Redis is.
pub(super) enum TestRedis {
    Named(String),
    Own(ThrowAway),
}

/// A server of the test's own, to be stopped, wiped and held up; killed when dropped.
pub(super) struct ThrowAway {
    port: u16,
    process: Child,
    directory: TempDir,
}

impl TestRedis {
    pub(super) fn find() -> Self {
        match std::env::var("TEST_REDIS_URL") {
            Ok(url) if !url.is_empty() => Self::Named(url),
            _ => Self::Own(ThrowAway::start()),
        }
    }

    /// Boards that see one another, and nobody else.
    pub(super) fn boards<const N: usize>(&self) -> [RedisBoard; N] {
        match self {
            Self::Named(url) => boards(url),
            Self::Own(server) => server.boards(),
        }
    }
}

fn boards<const N: usize>(url: &str) -> [RedisBoard; N] {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let prefix = format!("airouter-test-{}-{}", std::process::id(), now.as_nanos());
    std::array::from_fn(|_| RedisBoard::for_test(url, &prefix))
}

impl ThrowAway {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let process = launch(port, &directory);
        let mut server = Self {
            port,
            process,
            directory,
        };
        server.wait_until_it_listens();
        server
    }

    pub(super) fn boards<const N: usize>(&self) -> [RedisBoard; N] {
        boards(&self.url())
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Ends the server; what it knew is gone.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again after [`ThrowAway::kill`].
    pub(super) fn restart(&mut self) {
        self.process = launch(self.port, &self.directory);
        self.wait_until_it_listens();
    }

    /// Makes it hang, or go on.
    pub(super) fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        let kill = Command::new("kill").args([signal, &process]).status();
        assert!(kill.unwrap().success());
    }

    /// Sends a command, like `FLUSHDB`, and waits until it is done.
    pub(super) fn command<T: FromRedisValue>(&self, command: &str) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut words = redis::Cmd::new();
        command.split(' ').for_each(|word| {
            words.arg(word);
        });
        words.query(&mut connection).unwrap()
    }

    fn wait_until_it_listens(&mut self) {
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "redis-server did not start: {ended:?}");
            assert!(Instant::now() < patience, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        // Killed, it needs no resuming.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(port: u16, directory: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string()])
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server must be installed, or TEST_REDIS_URL name a server")
}
