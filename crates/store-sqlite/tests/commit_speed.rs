//! How long a group commit takes, by the size of its batch. Run it on purpose, in a release build:
//! `cargo test --release -p airouter-store-sqlite --test commit_speed -- --ignored --nocapture`.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

use std::sync::Arc;
use std::time::Instant;

use airouter_store::Store;
use airouter_store::conformance::{World, charge};
use airouter_store_sqlite::{OpenMode, SqliteStore};

/// User and system time of this process in microseconds, from /proc/self/stat (proc(5): fields 14 and 15, in ticks of
/// 10 ms).
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10_000
}

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn commits_by_batch_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, OpenMode::Serve).await.unwrap());
    let world = World::new(store).await;
    let mut clients = Vec::new();
    for _ in 0..32 {
        let client = world.prepaid(1_000_000_000_000_000).await;
        world.lease(client.balance(), 900_000_000_000_000).await;
        clients.push(client);
    }
    for (size, batches, spenders) in [
        (1, 2_000, 1),
        (15, 1_000, 15),
        (64, 500, 1),
        (64, 500, 32),
        (1_000, 50, 32),
    ] {
        let work: Vec<Vec<_>> = (0..batches)
            .map(|_| {
                (0..size)
                    .map(|position| {
                        let client = &clients[position % spenders];
                        let mut event = world.event(client, "0.000123");
                        event.charges = vec![charge(client.balance(), event.price.get(), 0)];
                        event
                    })
                    .collect()
            })
            .collect();
        let (start, cpu) = (Instant::now(), cpu_micros());
        for events in work {
            world.commit(events).await;
        }
        let events = u64::try_from(size * batches).unwrap();
        let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap();
        let cpu = cpu_micros() - cpu;
        println!(
            "batches of {size}, {spenders} clients: {} us a batch, {} us an event, {} ns CPU an event",
            elapsed / u64::try_from(batches).unwrap(),
            elapsed / events,
            cpu * 1_000 / events,
        );
    }
}
