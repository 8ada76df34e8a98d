use std::collections::BTreeMap;
use std::thread;

use super::*;
use crate::SpoolError;
use crate::format::{HEADER_BYTES, MAX_RECORD_BYTES, RECORD_HEAD_BYTES};

#[test]
fn a_batch_keeps_to_its_limits_but_has_one_record_at_least() {
    let disk = MemoryDisk::default();
    let (spool, _) = open(&disk);
    append_each(&spool, 0..10);
    let batch = |records, bytes| ids(&spool.oldest(records, bytes).unwrap());
    assert_eq!(batch(3, usize::MAX), [0, 1, 2]);
    assert_eq!(batch(10, 18 * 7), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(batch(10, 18 * 7 - 1), [0, 1, 2, 3, 4, 5]);
    assert_eq!(batch(10, 0), [0]);
    assert_eq!(batch(0, 0), [0]);
}

#[test]
fn landing_frees_the_disk_segment_by_segment() {
    let disk = MemoryDisk::default();
    let (spool, _) = open(&disk);
    append_each(&spool, 0..20);
    let mut files = vec![disk.names().len()];
    while let [first, ..] = spool.oldest(1, 0).unwrap().as_slice() {
        let bytes = spool.bytes();
        let held: usize = disk.names().iter().map(|name| disk.bytes(name).len()).sum();
        assert_eq!(bytes, held as u64);
        spool.landed(first.position).unwrap();
        files.push(disk.names().len());
    }
    assert!(files.is_sorted_by(|a, b| a >= b), "{files:?}");
    assert_eq!((files[0], files.last()), (5, Some(&0)));
    // And begins anew.
    append_each(&spool, 20..22);
    assert_eq!(ids(&all(&spool)), [20, 21]);
}

#[test]
fn landing_again_or_late_changes_nothing() {
    let disk = MemoryDisk::default();
    let (spool, _) = open(&disk);
    append_each(&spool, 0..10);
    let waiting = all(&spool);
    assert!(waiting.is_sorted_by_key(|waiting| waiting.position));
    for landed in [6, 6, 5, 2] {
        spool.landed(waiting[landed].position).unwrap();
    }
    assert_eq!(ids(&all(&spool)), [7, 8, 9]);
}

#[test]
fn what_has_landed_of_whole_segments_does_not_come_again() {
    let disk = MemoryDisk::default();
    let (spool, _) = open(&disk);
    append_each(&spool, 0..10);
    spool.landed(all(&spool)[8].position).unwrap();
    let (spool, opened) = open(&disk);
    // Four records fit into a segment.
    assert_eq!(ids(&all(&spool)), [8, 9]);
    assert_eq!(opened.records, 2);
}

#[test]
fn a_full_spool_refuses_until_something_has_landed() {
    let disk = MemoryDisk::default();
    let limits = Limits {
        segment_bytes: 200,
        total_bytes: 400,
    };
    let (spool, _) = Spool::open_on(Box::new(disk.clone()), limits).unwrap();
    let mut id = 0;
    let error = loop {
        match spool.append(&[&record(id, 10)]) {
            Ok(()) => id += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::Full { limit: 400 }), "{error}");
    let held = 3 * HEADER_BYTES + 9 * (RECORD_HEAD_BYTES + 18);
    assert_eq!((id, spool.bytes()), (9, held as u64));
    assert_eq!(spool.len(), id);
    spool.landed(all(&spool)[3].position).unwrap();
    append_each(&spool, [id]);
    assert_eq!(ids(&all(&spool)), Vec::from_iter(4..=id));
}

#[test]
fn a_record_has_a_largest_length() {
    let disk = MemoryDisk::default();
    let limits = Limits::default();
    let (spool, _) = Spool::open_on(Box::new(disk.clone()), limits).unwrap();
    let largest = vec![7; MAX_RECORD_BYTES];
    let larger = vec![7; MAX_RECORD_BYTES + 1];
    let error = spool.append(&[b"small", &larger]).unwrap_err();
    assert!(matches!(error, SpoolError::TooLarge { .. }), "{error}");
    assert!(spool.is_empty());
    spool.append(&[b"", &largest]).unwrap();
    let (spool, _) = Spool::open_on(Box::new(disk), limits).unwrap();
    let read: Vec<Vec<u8>> = all(&spool)
        .into_iter()
        .map(|waiting| waiting.record)
        .collect();
    assert_eq!(read, [vec![], largest]);
}

#[test]
fn threads_append_while_another_lands() {
    const EACH: u64 = 200;
    let disk = MemoryDisk::default();
    let (spool, _) = open(&disk);
    let mut landed: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|thread| {
                let spool = &spool;
                scope.spawn(move || append_each(spool, (0..EACH).map(|id| thread << 32 | id)))
            })
            .collect();
        loop {
            let are_done = writers.iter().all(|writer| writer.is_finished());
            let batch = spool.oldest(7, usize::MAX).unwrap();
            for id in ids(&batch) {
                landed.entry(id >> 32).or_default().push(id & 0xFFFF_FFFF);
            }
            match batch.last() {
                Some(last) => spool.landed(last.position).unwrap(),
                None if are_done => break,
                None => thread::yield_now(),
            }
        }
    });
    assert!(spool.is_empty());
    assert_eq!(landed.len(), 3);
    for of_thread in landed.values() {
        assert_eq!(*of_thread, Vec::from_iter(0..EACH));
    }
}
