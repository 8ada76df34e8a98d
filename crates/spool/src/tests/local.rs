//! On a real directory, with real processes.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::SpoolError;

/// Where the process that [`holder`] is part of has its spool.
const DIRECTORY: &str = "SPOOL_TEST_DIRECTORY";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn everything_is_for_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data/spool");
    let (spool, _) = Spool::open(&directory, SMALL).unwrap();
    append_each(&spool, 0..10);
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory).unwrap().collect();
    assert!(files.len() > 3);
    for file in files {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    drop(spool);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let (spool, opened) = Spool::open(&directory, SMALL).unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(opened.records, 10);
    assert_eq!(ids(&all(&spool)), Vec::from_iter(0..10));
    spool.landed(all(&spool)[9].position).unwrap();
    let left: Vec<_> = fs::read_dir(&directory).unwrap().collect();
    assert_eq!(left.len(), 1, "only the lock: {left:?}");
}

#[test]
fn a_segment_cut_by_a_crash_and_a_damaged_one_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path(), SMALL).unwrap();
    append_each(&spool, 0..10);
    drop(spool);
    let mut files: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "spool")
        })
        .collect();
    files.sort();
    let mut bytes = fs::read(&files[0]).unwrap();
    bytes[60] ^= 0x10;
    fs::write(&files[0], &bytes).unwrap();
    let last = fs::OpenOptions::new()
        .write(true)
        .open(files.last().unwrap())
        .unwrap();
    last.set_len(last.metadata().unwrap().len() - 1).unwrap();

    let (spool, opened) = Spool::open(directory.path(), SMALL).unwrap();
    assert_eq!(ids(&all(&spool)), [0, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(opened.damaged.len(), 1);
    assert_eq!(opened.torn_bytes, 37);
    spool.landed(all(&spool)[7].position).unwrap();
    let kept = files[0].with_extension("spool.damaged");
    assert_eq!(fs::read(kept).unwrap(), bytes);
}

#[test]
fn a_spool_has_one_process_and_what_a_killed_one_acknowledged_is_there() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let mut child = Holder::start(directory.path());
        let mut acknowledged = child.wait_for(round * 20);
        match Spool::open(directory.path(), SMALL) {
            Err(SpoolError::InUse { .. }) => {}
            other => panic!("{other:?}"),
        }
        acknowledged = acknowledged.max(child.kill());
        let (spool, opened) = Spool::open(directory.path(), SMALL).unwrap();
        let waiting = ids(&all(&spool));
        assert!(waiting.len() as u64 >= acknowledged);
        assert_eq!(waiting, Vec::from_iter(0..waiting.len() as u64));
        assert_eq!(opened.damaged, []);
        spool.landed(all(&spool).last().unwrap().position).unwrap();
    }
}

/// Another process, which appends as fast as it can, and says each time how many records are acknowledged.
struct Holder {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn start(directory: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::local::holder",
                "--ignored",
                "--nocapture",
            ])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// Waits until so many are acknowledged, and says how many are.
    fn wait_for(&mut self, count: u64) -> u64 {
        loop {
            let acknowledged = self.next().expect("the other process appends");
            if acknowledged >= count {
                return acknowledged;
            }
        }
    }

    fn next(&mut self) -> Option<u64> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some(count) = line.strip_prefix("acknowledged ") {
                return count.trim().parse().ok();
            }
            line.clear();
        }
        None
    }

    /// Kills it, and says how many were acknowledged at last.
    fn kill(&mut self) -> u64 {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.next()).last().unwrap_or(0)
    }
}

#[test]
#[ignore = "the other process of the test above"]
fn holder() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let (spool, _) = Spool::open(Path::new(&directory), SMALL).unwrap();
    let mut output = std::io::stdout();
    for id in 0..1_000_000 {
        append_each(&spool, [id]);
        writeln!(output, "acknowledged {}", id + 1).unwrap();
    }
}
