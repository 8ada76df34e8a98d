//! The format of a segment: a header, then records, each with its number and two checksums.
//!
//! Numbers are little-endian.
//!
//! | part | bytes |
//! |---|---|
//! | header | `AIRSPOOL`, version (4), checksum (4) |
//! | record | length of the payload (4), number (8), checksum of these (4), checksum of these and the payload (4), payload |
//!
//! Every checksum (CRC-32) also covers the name of the segment, which holds a random number, and the place in the file.
//! So bytes within a payload that look like a record are never taken for one when the reader looks for the next record
//! behind damage.

mod name;
mod scan;
mod window;

pub(crate) use name::DAMAGED;
pub use name::SegmentName;
pub use scan::{Found, GapKind, Scanner};

use crc32fast::Hasher;

/// The longest payload of a record.
pub const MAX_RECORD_BYTES: usize = 16 << 20;
/// The length of a segment's header.
pub const HEADER_BYTES: usize = 16;
/// What a record needs beside its payload.
pub const RECORD_HEAD_BYTES: usize = 20;

const MAGIC: [u8; 8] = *b"AIRSPOOL";
const VERSION: u32 = 1;
/// The bytes of a record's head that its first checksum covers.
const NUMBERED_BYTES: usize = 12;

/// Appends the header of the segment `name` to `to`.
pub fn write_header(name: &SegmentName, to: &mut Vec<u8>) {
    write_header_of(VERSION, name, to);
}

pub(crate) fn write_header_of(version: u32, name: &SegmentName, to: &mut Vec<u8>) {
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&version.to_le_bytes());
    to.extend_from_slice(&header_checksum(name, version).to_le_bytes());
}

/// Appends a record to `to`; it will be at `offset` in the segment `name`. A payload beyond [`MAX_RECORD_BYTES`] is not
/// read back.
pub fn write_record(
    name: &SegmentName,
    offset: u64,
    number: u64,
    payload: &[u8],
    to: &mut Vec<u8>,
) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let head = Head { length, number };
    let mut hasher = head.hasher(name, offset);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&number.to_le_bytes());
    to.extend_from_slice(&hasher.clone().finalize().to_le_bytes());
    hasher.update(payload);
    to.extend_from_slice(&hasher.finalize().to_le_bytes());
    to.extend_from_slice(payload);
}

fn header_checksum(name: &SegmentName, version: u32) -> u32 {
    let mut hasher = name.hasher();
    hasher.update(&MAGIC);
    hasher.update(&version.to_le_bytes());
    hasher.finalize()
}

/// The version in a header; `None` if it is no header of this segment.
fn read_header(name: &SegmentName, bytes: &[u8]) -> Option<u32> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, _) = rest.split_first_chunk::<4>()?;
    let version = u32::from_le_bytes(*version);
    let is_ours =
        *magic == MAGIC && header_checksum(name, version) == u32::from_le_bytes(*checksum);
    is_ours.then_some(version)
}

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    length: u32,
    number: u64,
}

impl Head {
    /// The head at the start of `bytes`, and the payload's checksum; `None` if there is none.
    fn read(name: &SegmentName, offset: u64, bytes: &[u8]) -> Option<(Self, u32)> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (head_checksum, rest) = rest.split_first_chunk::<4>()?;
        let (checksum, _) = rest.split_first_chunk::<4>()?;
        let head = Self {
            length: u32::from_le_bytes(*length),
            number: u64::from_le_bytes(*number),
        };
        let is_ours = head.payload_bytes() <= MAX_RECORD_BYTES
            && head.hasher(name, offset).finalize() == u32::from_le_bytes(*head_checksum);
        is_ours.then_some((head, u32::from_le_bytes(*checksum)))
    }

    fn payload_bytes(self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    fn hasher(self, name: &SegmentName, offset: u64) -> Hasher {
        let mut covered = [0; 8 + NUMBERED_BYTES];
        covered[..8].copy_from_slice(&offset.to_le_bytes());
        covered[8..12].copy_from_slice(&self.length.to_le_bytes());
        covered[12..].copy_from_slice(&self.number.to_le_bytes());
        let mut hasher = name.hasher();
        hasher.update(&covered);
        hasher
    }
}
