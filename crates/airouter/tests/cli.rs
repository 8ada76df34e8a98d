//! The command line, as whoever types it sees it: the real binary, with an environment of its own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory to work in, with nothing in the environment.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airouter"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.directory.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("data").join(name)
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    stdout(output)
}

fn value(lines: &str, name: &str) -> String {
    lines
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("no {name} in {lines}"))
        .to_owned()
}

const ANN: [&str; 4] = [
    "provision-user",
    "--email=ann@example.com",
    "--name=Ann",
    "--credit=10",
];

#[test]
fn every_command_helps_with_an_example() {
    let bench = Bench::new();
    let help = good(&bench.run(&["--help"]));
    for name in [
        "serve",
        "provision-user",
        "AIROUTER_LISTEN",
        "ENCRYPTION_KEY",
    ] {
        assert!(help.contains(name), "{name}");
    }
    for command in [
        &["serve"][..],
        &["demo"],
        &["provision-user"],
        &["credit"],
        &["ledger", "verify"],
        &["models"],
        &["aliases"],
        &["plans"],
        &["accounts"],
        &["migrate"],
        &["simulate-upstream"],
    ] {
        let help = good(&bench.run(&[command, &["--help"]].concat()));
        assert!(
            help.contains("airouter ") && help.contains("Example"),
            "{command:?}"
        );
    }
    assert!(!bench.directory.path().join("data").exists());
}

#[test]
fn wrong_usage_and_wrong_configuration_exit_2() {
    let bench = Bench::new();
    for arguments in [
        &["unknown"][..],
        &["credit", "--email=a@example.com"],
        &["provision-user", "--email=nobody", "--name=x"],
        &[
            "provision-user",
            "--email=a@example.com",
            "--name=x",
            "--credit=-1",
        ],
        &[
            "credit",
            "--email=a@example.com",
            "--amount=0.0000000001",
            "--reason=x",
        ],
    ] {
        assert_eq!(bench.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = bench
        .command(&["serve"])
        .env("AIROUTER_LISTEN", "nowhere")
        .env("DATABASE_URL", "mysql://user:hunter22@db/airouter")
        .env("ENCRYPTION_KEY", "hunter22")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    for name in ["AIROUTER_LISTEN:", "DATABASE_URL:", "ENCRYPTION_KEY:"] {
        assert!(told.lines().any(|line| line.starts_with(name)), "{told}");
    }
    assert!(!told.contains("hunter22"), "{told}");
}

#[test]
fn a_client_is_provisioned_and_gets_another_key_the_second_time() {
    let bench = Bench::new();
    let first = bench.run(&ANN);
    let second = bench.run(&ANN);
    let keys = [&first, &second].map(|output| value(&good(output), "AI_GATEWAY_API_KEY"));
    assert!(keys.iter().all(|key| key.starts_with("sk-air-")));
    assert_ne!(keys[0], keys[1]);
    assert_eq!(
        value(&stdout(&first), "AI_GATEWAY_BASE_URL"),
        "http://127.0.0.1:8000/v1"
    );
    assert_eq!(stderr(&first), "");
    assert!(stderr(&second).contains("known already"));
    let credited = bench.run(&[
        "credit",
        "--email=ann@example.com",
        "--amount=0.5",
        "--reason=more",
    ]);
    assert_eq!(
        good(&credited),
        "BALANCE_USD=10.5\n",
        "the second call credited nothing"
    );
}

#[test]
fn credits_and_debits_change_the_balance_and_add_up() {
    let bench = Bench::new();
    good(&bench.run(&ANN));
    let credit = |amount: &str| {
        let amount = format!("--amount={amount}");
        bench.run(&[
            "credit",
            "--email=ANN@example.com",
            &amount,
            "--reason=a test",
        ])
    };
    assert_eq!(good(&credit("2.000000001")), "BALANCE_USD=12.000000001\n");
    assert_eq!(good(&credit("-12")), "BALANCE_USD=0.000000001\n");
    assert_eq!(good(&credit("-5")), "BALANCE_USD=0\n", "the rest is owed");
    let verified = good(&bench.run(&["ledger", "verify"]));
    assert_eq!(value(&verified, "findings"), "0");
    assert_eq!(value(&verified, "transactions"), "4");
}

#[test]
fn nobody_and_those_who_pay_later_have_no_balance() {
    let bench = Bench::new();
    good(&bench.run(&[
        "provision-user",
        "--email=bob@example.com",
        "--name=Bob",
        "--limit=5000",
    ]));
    for email in ["--email=bob@example.com", "--email=nobody@example.com"] {
        let output = bench.run(&["credit", email, "--amount=1", "--reason=a test"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("airouter: "), "{output:?}");
    }
}

#[test]
fn migrate_makes_a_private_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    good(&bench.run(&["migrate"]));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.file("airouter.db")), 0o600);
    assert_eq!(mode(&bench.file("")), 0o700);
}
