//! What is damaged is said, and costs nothing but the damaged records.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::format::{
    HEADER_BYTES, RECORD_HEAD_BYTES, SegmentName, write_header, write_header_of, write_record,
};
use crate::{Damage, SpoolError};

/// A record of [`filled`]: where it lies.
#[derive(Debug)]
struct Place {
    id: u64,
    file: String,
    bytes: std::ops::Range<usize>,
}

/// Ten records in three segments or more.
fn filled() -> (MemoryDisk, Vec<Place>) {
    let disk = MemoryDisk::default();
    let (spool, _) = open(&disk);
    append_each(&spool, 0..10);
    let mut places = Vec::new();
    for name in disk.names() {
        let first = SegmentName::parse(&name).unwrap().first();
        let length = RECORD_HEAD_BYTES + 18;
        let starts = (HEADER_BYTES..disk.bytes(&name).len()).step_by(length);
        places.extend(starts.zip(first..).map(|(start, id)| Place {
            id,
            file: name.clone(),
            bytes: start..start + length,
        }));
    }
    assert_eq!(places.len(), 10);
    assert!(disk.names().len() >= 3);
    (disk, places)
}

fn untouched(places: &[Place], file: &str, touched: impl Fn(usize) -> bool) -> Vec<u64> {
    places
        .iter()
        .filter(|place| place.file != file || !place.bytes.clone().any(&touched))
        .map(|place| place.id)
        .collect()
}

/// Lands everything, and checks that of the files only `damaged` is left, as it was.
fn land_all(disk: &MemoryDisk, spool: &Spool, damaged: &str) {
    let before = disk
        .names()
        .contains(&damaged.to_owned())
        .then(|| disk.bytes(damaged));
    if let Some(last) = all(spool).last() {
        spool.landed(last.position).unwrap();
    }
    let kept = format!("{damaged}.damaged");
    assert_eq!(disk.names(), [kept.as_str()]);
    if let Some(before) = before {
        assert_eq!(disk.bytes(&kept), before);
    }
    let (spool, opened) = open(disk);
    assert!(spool.is_empty());
    assert_eq!(opened.set_aside, 1);
}

#[test]
fn any_flipped_bit_is_reported_and_costs_its_record_alone() {
    let (disk, places) = filled();
    for file in disk.names() {
        for bit in 0..disk.bytes(&file).len() * 8 {
            let disk = disk.copy();
            let mut bytes = disk.bytes(&file);
            bytes[bit / 8] ^= 1 << (bit % 8);
            disk.put(&file, bytes);
            let (spool, opened) = open(&disk);
            let expected = untouched(&places, &file, |byte| byte == bit / 8);
            assert_eq!(ids(&all(&spool)), expected, "{file} bit {bit}");
            let [damage] = opened.damaged.as_slice() else {
                panic!("{file} bit {bit}: {opened:?}");
            };
            assert_eq!(damage.file, file);
            let lost = 10 - expected.len() as u64;
            let size = if lost == 0 {
                HEADER_BYTES
            } else {
                RECORD_HEAD_BYTES + 18
            };
            assert_eq!(damage.unreadable_bytes, size as u64);
            let is_last = !expected.contains(&9);
            assert_eq!(damage.lost_records, if is_last { 0 } else { lost });
            land_all(&disk, &spool, &file);
        }
    }
}

#[test]
fn a_segment_cut_off_anywhere_keeps_what_is_before() {
    let (disk, places) = filled();
    let last = disk.names().pop().unwrap();
    for file in disk.names() {
        let whole = disk.bytes(&file);
        for length in 0..whole.len() {
            let disk = disk.copy();
            disk.put(&file, whole[..length].to_vec());
            let (spool, opened) = open(&disk);
            let expected = untouched(&places, &file, |byte| byte >= length);
            assert_eq!(ids(&all(&spool)), expected);
            let at_an_end = length <= HEADER_BYTES && length % HEADER_BYTES == 0
                || places
                    .iter()
                    .any(|place| place.file == file && place.bytes.end == length);
            assert_eq!(opened.torn_bytes == 0, at_an_end, "{length}");
            if file == last {
                assert_eq!(opened.damaged, []);
            } else {
                let lost: u64 = opened
                    .damaged
                    .iter()
                    .map(|damage| damage.lost_records)
                    .sum();
                assert_eq!(lost, 10 - expected.len() as u64);
            }
        }
    }
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let (disk, _) = filled();
    let names = disk.names();
    let copy = MemoryDisk::default();
    for name in [&names[0], &names[2]] {
        copy.put(name, disk.bytes(name));
    }
    let (_, opened) = open(&copy);
    let first = |name: &str| SegmentName::parse(name).unwrap().first();
    assert_eq!(
        opened.damaged,
        [Damage {
            file: names[0].clone(),
            unreadable_bytes: 0,
            lost_records: first(&names[2]) - first(&names[1]),
        }]
    );
}

#[test]
fn damage_while_it_is_open_is_said_once_and_reading_goes_on() {
    let (disk, places) = filled();
    let (spool, _) = open(&disk);
    let before = all(&spool);
    let struck = &places[2];
    let mut bytes = disk.bytes(&struck.file);
    bytes[struck.bytes.start + 30] ^= 1;
    disk.put(&struck.file, bytes);

    let readable = all(&spool);
    assert_eq!(ids(&readable), [0, 1]);
    spool.landed(readable[1].position).unwrap();
    match spool.oldest(10, 1_000) {
        Err(SpoolError::Damaged(damage)) => {
            assert_eq!((damage.file, damage.lost_records), (struck.file.clone(), 1));
        }
        other => panic!("{other:?}"),
    }
    let rest = all(&spool);
    assert_eq!(ids(&rest), [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(spool.len(), 7);
    // A position from before the damage was counted otherwise: it lands nothing in that segment.
    spool.landed(before[3].position).unwrap();
    assert_eq!(spool.len(), 7);
    land_all(&disk, &spool, &struck.file);
}

#[test]
fn a_segment_that_somebody_removes_is_lost_and_said_so() {
    let (disk, places) = filled();
    let (spool, _) = open(&disk);
    let file = places[0].file.clone();
    crate::disk::Disk::remove(&disk, &file).unwrap();
    let lost = places.iter().filter(|place| place.file == file).count() as u64;
    match spool.oldest(10, 1_000) {
        Err(SpoolError::Damaged(damage)) => assert_eq!(damage.lost_records, lost),
        other => panic!("{other:?}"),
    }
    let rest = all(&spool);
    assert_eq!(rest.len() as u64, 10 - lost);
    spool.landed(rest.last().unwrap().position).unwrap();
    assert!(spool.is_empty());
    assert!(disk.names().is_empty());
}

#[test]
fn a_record_within_a_payload_is_never_read() {
    let serial_and_first = (0, 0);
    let salt = 0x1234_5678_9abc_def0;
    let name = SegmentName::new(serial_and_first.0, serial_and_first.1, salt);
    let guessed = SegmentName::new(serial_and_first.0, serial_and_first.1, salt + 1);
    let mut bytes = Vec::new();
    write_header(&name, &mut bytes);
    let outer = bytes.len();
    let inner = (outer + RECORD_HEAD_BYTES) as u64;
    let mut payload = Vec::new();
    // At its right place, by somebody who does not know the salt; and with the salt, at another place.
    write_record(&guessed, inner, 0, b"forged", &mut payload);
    write_record(&name, inner, 0, b"forged", &mut payload);
    write_record(&name, outer as u64, 0, &payload, &mut bytes);
    let after = bytes.len() as u64;
    write_record(&name, after, 1, b"genuine", &mut bytes);
    bytes[outer] ^= 1;
    let disk = MemoryDisk::default();
    disk.put(&name.to_string(), bytes);
    let (spool, opened) = open(&disk);
    let read: Vec<Vec<u8>> = all(&spool)
        .into_iter()
        .map(|waiting| waiting.record)
        .collect();
    assert_eq!(read, [b"genuine"]);
    assert_eq!(opened.damaged[0].lost_records, 1);
}

#[test]
fn a_newer_format_is_left_alone() {
    let (disk, places) = filled();
    let file = places[0].file.clone();
    let name = SegmentName::parse(&file).unwrap();
    let mut bytes = disk.bytes(&file);
    let mut header = Vec::new();
    write_header_of(2, &name, &mut header);
    bytes[..HEADER_BYTES].copy_from_slice(&header);
    disk.put(&file, bytes.clone());
    match Spool::open_on(Box::new(disk.clone()), SMALL) {
        Err(SpoolError::NewerFormat {
            file: said,
            version: 2,
        }) => assert_eq!(said, file),
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.bytes(&file), bytes);
}

proptest! {
    #[test]
    fn whatever_is_overwritten_what_was_not_is_read(
        strokes in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), vec(any::<u8>(), 1..80)), 1..6),
    ) {
        let (disk, places) = filled();
        let names = disk.names();
        let originals: Vec<Vec<u8>> = names.iter().map(|name| disk.bytes(name)).collect();
        for (file, at, stroke) in strokes {
            let name = file.get(&names);
            let mut bytes = disk.bytes(name);
            let at = at.index(bytes.len());
            for (byte, new) in bytes[at..].iter_mut().zip(stroke) {
                *byte = new;
            }
            disk.put(name, bytes);
        }
        let expected: Vec<u64> = places
            .iter()
            .filter(|place| {
                let file = names.iter().position(|name| *name == place.file).unwrap();
                disk.bytes(&place.file)[place.bytes.clone()] == originals[file][place.bytes.clone()]
            })
            .map(|place| place.id)
            .collect();
        let has_changed = names.iter().zip(&originals).any(|(name, bytes)| disk.bytes(name) != *bytes);
        let (spool, opened) = open(&disk);
        prop_assert_eq!(ids(&all(&spool)), expected);
        prop_assert_eq!(has_changed, !opened.damaged.is_empty() || opened.torn_bytes > 0);
    }
}
