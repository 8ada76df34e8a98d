mod damage;
mod faults;
mod format;
mod local;
mod memory_disk;
mod model;
mod queue;

use memory_disk::MemoryDisk;

use crate::{Limits, Opened, Spool, Waiting};

/// Small segments, so that there are many.
const SMALL: Limits = Limits {
    segment_bytes: 200,
    total_bytes: 1 << 20,
};

fn open(disk: &MemoryDisk) -> (Spool, Opened) {
    Spool::open_on(Box::new(disk.clone()), SMALL).unwrap()
}

/// Everything that waits.
fn all(spool: &Spool) -> Vec<Waiting> {
    spool.oldest(usize::MAX, usize::MAX).unwrap()
}

/// A record that says which it is, by its first 8 bytes; `length` more follow.
fn record(id: u64, length: usize) -> Vec<u8> {
    let mut record = id.to_be_bytes().to_vec();
    record.resize(8 + length, 0xA5);
    record
}

/// Which records these are, each of them whole.
fn ids(waiting: &[Waiting]) -> Vec<u64> {
    waiting
        .iter()
        .map(|waiting| {
            let (id, rest) = waiting.record.split_first_chunk::<8>().unwrap();
            assert!(rest.iter().all(|byte| *byte == 0xA5), "an invented record");
            u64::from_be_bytes(*id)
        })
        .collect()
}

/// Appends the records `ids`, a call each.
fn append_each(spool: &Spool, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        spool.append(&[&record(id, 10)]).unwrap();
    }
}
