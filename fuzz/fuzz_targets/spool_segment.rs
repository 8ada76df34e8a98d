//! A segment of the spool: whatever is in the file, each of its bytes is read or missed exactly once; and what a writer
//! wrote is read, whatever is before it, behind it or in another record.
#![no_main]

use airouter_fuzz::{pieces, text_and_cuts};
use airouter_spool::format::{
    Found, HEADER_BYTES, MAX_RECORD_BYTES, RECORD_HEAD_BYTES, Scanner, SegmentName, write_header,
    write_record,
};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Of the first record.
const FIRST: u64 = 7;

fuzz_target!(|input: &[u8]| {
    let _ = records_of(input);
    let Some((text, lengths)) = text_and_cuts(input) else {
        return;
    };
    let (text, noise) = text.split_at(text.len() / 2);
    let records = pieces(text, lengths);
    let segment = segment_of(&records);
    let written: Vec<(u64, Bytes)> = (FIRST..).zip(records).collect();

    let followed = [&segment, noise].concat();
    assert!(records_of(&followed).starts_with(&written));

    // From the middle on, as far as it goes.
    let mut overwritten = segment.clone();
    let start = segment.len() / 2;
    for (byte, new) in overwritten[start..].iter_mut().zip(noise) {
        *byte = *new;
    }
    let read = records_of(&overwritten);
    let mut offset = HEADER_BYTES;
    for record in written {
        let end = offset + RECORD_HEAD_BYTES + record.1.len();
        let is_whole = segment[offset..end] == overwritten[offset..end];
        assert!(!is_whole || read.contains(&record));
        offset = end;
    }
});

fn name() -> SegmentName {
    SegmentName::new(3, FIRST, 0x5eed)
}

fn segment_of(records: &[Bytes]) -> Vec<u8> {
    let mut segment = Vec::new();
    write_header(&name(), &mut segment);
    for (number, record) in (FIRST..).zip(records) {
        let offset = segment.len() as u64;
        write_record(&name(), offset, number, record, &mut segment);
    }
    segment
}

/// The numbers and payloads of what a scan finds, which covers the whole file.
fn records_of(file: &[u8]) -> Vec<(u64, Bytes)> {
    let mut scanner = Scanner::new(file, name(), 0);
    let mut records = Vec::new();
    let mut offset = 0;
    let mut gap_before = false;
    while let Some(found) = scanner.next_found().expect("memory can be read") {
        let has_header = offset == 0;
        match found {
            Found::Record {
                number,
                end,
                payload,
            } => {
                assert!(payload.len() <= MAX_RECORD_BYTES);
                let header = if has_header { HEADER_BYTES } else { 0 };
                offset += (header + RECORD_HEAD_BYTES + payload.len()) as u64;
                assert_eq!(offset, end);
                records.push((number, Bytes::copy_from_slice(payload)));
                gap_before = false;
            }
            Found::Gap { start, bytes, .. } => {
                assert!(bytes > 0 && !gap_before);
                assert!(start == offset || has_header && start == HEADER_BYTES as u64);
                offset = start + bytes;
                gap_before = true;
            }
            Found::NewerFormat { .. } => return records,
        }
    }
    let is_header_alone = offset == 0 && file.len() == HEADER_BYTES;
    assert!(offset == file.len() as u64 || is_header_alone);
    records
}
