use crc32fast::Hasher;

use crate::format::{Found, GapKind, Scanner, SegmentName, write_header, write_record};

/// What files on disks look like: this never changes within a version.
#[test]
fn a_segment_is_as_documented() {
    let name = SegmentName::new(3, 7, 0x5eed);
    let checksum = |parts: &[&[u8]]| {
        let mut hasher = Hasher::new();
        for number in [3_u64, 7, 0x5eed] {
            hasher.update(&number.to_le_bytes());
        }
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize().to_le_bytes()
    };
    let head: &[u8] = b"AIRSPOOL\x01\0\0\0";
    let offset = 16_u64.to_le_bytes();
    let numbered: &[u8] = b"\x03\0\0\0\x07\0\0\0\0\0\0\0";
    let expected = [
        head,
        &checksum(&[head]),
        numbered,
        &checksum(&[&offset, numbered]),
        &checksum(&[&offset, numbered, b"one"]),
        b"one",
    ]
    .concat();
    let mut written = Vec::new();
    write_header(&name, &mut written);
    write_record(&name, 16, 7, b"one", &mut written);
    assert_eq!(written, expected);
    assert_eq!(
        name.to_string(),
        "0000000000000003-0000000000000007-0000000000005eed.spool"
    );
}

#[test]
fn only_names_that_a_spool_gives_are_segments() {
    let name = SegmentName::new(u64::MAX, 0, 0xABC);
    let parsed = SegmentName::parse(&name.to_string()).unwrap();
    assert_eq!(parsed.to_string(), name.to_string());
    let digits = "0000000000000003";
    for other in [
        "lock".to_owned(),
        format!("{digits}-{digits}.spool"),
        format!("{digits}-{digits}-{digits}-{digits}.spool"),
        format!("{digits}-{digits}-{digits}.spool.damaged"),
        format!("{digits}-{digits}-000000000000000A.spool"),
        format!("{digits}-{digits}-+00000000000000a.spool"),
    ] {
        assert!(SegmentName::parse(&other).is_none(), "{other}");
    }
}

#[test]
fn zeros_and_unfinished_ends_are_torn_and_anything_else_is_damaged() {
    let name = SegmentName::new(0, 0, 1);
    let mut whole = Vec::new();
    write_header(&name, &mut whole);
    write_record(&name, 16, 0, b"payload", &mut whole);
    let last_gap = |bytes: &[u8]| {
        let mut scanner = Scanner::new(bytes, name.clone(), 0);
        let mut last = None;
        while let Some(found) = scanner.next_found().unwrap() {
            if let Found::Gap { kind, .. } = found {
                last = Some(kind);
            }
        }
        last
    };
    assert_eq!(last_gap(&whole), None);
    assert_eq!(
        last_gap(&[&*whole, &[0; 100]].concat()),
        Some(GapKind::Torn)
    );
    assert_eq!(last_gap(&[0; 100]), Some(GapKind::Torn));
    assert_eq!(last_gap(&whole[..20]), Some(GapKind::Torn));
    assert_eq!(last_gap(&whole[..whole.len() - 1]), Some(GapKind::Torn));
    assert_eq!(
        last_gap(&[&*whole, &[1; 100]].concat()),
        Some(GapKind::Damaged)
    );
    assert_eq!(last_gap(&[1; 100]), Some(GapKind::Damaged));
    let zeroed = [&[0; 16], &whole[16..]].concat();
    assert_eq!(
        last_gap(&zeroed),
        Some(GapKind::Damaged),
        "a record follows"
    );
}
