//! The whole program with its simulated upstream, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A change by the command line acts within this (design §8).
const ACTS_WITHIN: Duration = Duration::from_secs(1);

/// A demo that runs, in a directory of its own.
struct Demo {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    key: String,
    address: String,
    metrics: String,
}

fn airouter(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airouter"));
    command
        .env_clear()
        .env("AIROUTER_LISTEN", "127.0.0.1:0")
        .env("AIROUTER_METRICS_LISTEN", "127.0.0.1:0")
        .current_dir(directory.path());
    command
}

/// A command beside the demo, on its database.
fn beside(directory: &TempDir, arguments: &[&str]) -> Output {
    airouter(directory)
        .env("AIROUTER_DATA_DIR", "data/demo")
        .args(arguments)
        .output()
        .unwrap()
}

impl Demo {
    fn start(directory: &TempDir) -> Self {
        let mut child = airouter(directory)
            .arg("demo")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = String::new();
        // The last line is the one about models.
        while !lines.contains("/v1/models") {
            let read = stdout.read_line(&mut lines).unwrap();
            assert!(read > 0, "the demo ended early: {lines}");
        }
        let value = |name: &str| {
            let line = lines.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {lines}"))
                .to_owned()
        };
        let host = |url: String| url.split('/').nth(2).unwrap().to_owned();
        Self {
            key: value("AI_GATEWAY_API_KEY="),
            address: host(value("AI_GATEWAY_BASE_URL=")),
            metrics: host(value("METRICS_URL=")),
            child,
            _stdout: stdout,
        }
    }

    /// Status and body of a chat request.
    fn chat(&self, extra: &str) -> (u16, String) {
        let body = format!(
            r#"{{"model":"sim/small",{extra}"messages":[{{"role":"user","content":"Hello"}}]}}"#
        );
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: airouter\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        exchange(&self.address, &request)
    }

    fn wait_for_chat(&self, status: u16) {
        let since = Instant::now();
        while self.chat("").0 != status {
            assert!(since.elapsed() < ACTS_WITHIN, "no {status} in time");
        }
    }

    fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exchange(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn get(address: &str, path: &str) -> (u16, String) {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: airouter\r\nconnection: close\r\n\r\n"),
    )
}

#[test]
fn what_the_demo_prints_works_and_is_booked() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Demo::start(&directory);
    assert_eq!(demo.chat("").0, 200);
    let (status, stream) = demo.chat(r#""stream":true,"#);
    assert_eq!(status, 200);
    assert!(stream.contains("data: [DONE]"), "{stream}");
    assert_eq!(get(&demo.address, "/health").0, 200);
    assert_eq!(get(&demo.address, "/metrics").0, 404);
    assert_eq!(get(&demo.metrics, "/").0, 404);
    let (_, metrics) = get(&demo.metrics, "/metrics");
    let counted = r#"airouter_requests_total{delivery="streamed",ending="complete",master_account="openrouter-1",model="sim/small"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");

    let second = beside(&directory, &["serve"]);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let verified = beside(&directory, &["ledger", "verify"]);
    assert!(verified.status.success());
    let verified = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.starts_with("events=2\n"), "{verified}");

    let key = demo.key.clone();
    assert_eq!(demo.terminate().code(), Some(0));
    let again = Demo::start(&directory);
    assert_eq!(again.key, key);
    assert_eq!(again.chat("").0, 200);
    assert_eq!(again.terminate().code(), Some(0));
}

#[test]
fn credits_and_debits_act_on_a_running_server_within_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Demo::start(&directory);
    assert_eq!(demo.chat("").0, 200);
    let credit = |amount: &str| {
        let amount = format!("--amount={amount}");
        let arguments = [
            "credit",
            "--email=demo@example.com",
            &amount,
            "--reason=a test",
        ];
        assert!(beside(&directory, &arguments).status.success());
    };
    credit("-10");
    demo.wait_for_chat(402);
    credit("1");
    demo.wait_for_chat(200);
    assert_eq!(demo.terminate().code(), Some(0));
    assert!(beside(&directory, &["ledger", "verify"]).status.success());
}

#[test]
fn a_start_that_fails_spends_no_password() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = airouter(&directory)
        .env("AIROUTER_LISTEN", address)
        .arg("demo")
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(
        String::from_utf8(failed.stderr)
            .unwrap()
            .contains("can't listen on")
    );
    let mut child = airouter(&directory)
        .arg("demo")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first_line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first_line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(first_line, "ADMIN_EMAIL=admin@localhost\n");
}
