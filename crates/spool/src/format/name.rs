//! Names of segments. What matters when a header is damaged is in the name.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use crc32fast::Hasher;

/// The name of a segment: `serial-first-salt.spool`, each 16 hexadecimal digits.
#[derive(Clone)]
pub struct SegmentName {
    serial: u64,
    first: u64,
    salt: u64,
    /// The checksum of the name, which every other goes on from.
    hasher: Hasher,
}

const EXTENSION: &str = ".spool";

impl SegmentName {
    /// A name for the segment `serial`, whose first record has the number `first`; `salt` is random.
    pub fn new(serial: u64, first: u64, salt: u64) -> Self {
        let mut hasher = Hasher::new();
        for part in [serial, first, salt] {
            hasher.update(&part.to_le_bytes());
        }
        Self {
            serial,
            first,
            salt,
            hasher,
        }
    }

    /// A name with a salt that nobody can know beforehand.
    pub(crate) fn random(serial: u64, first: u64) -> Self {
        Self::new(serial, first, RandomState::new().hash_one(serial))
    }

    /// The name of this file; `None` if no segment is called so.
    pub fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(EXTENSION)?.split('-').map(|digits| {
            let is_canonical = digits.len() == 16
                && digits
                    .bytes()
                    .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            is_canonical.then(|| u64::from_str_radix(digits, 16).ok())?
        });
        let name = Self::new(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(name)
    }

    /// Segments are read in the order of their serial numbers.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The number of the first record.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The name of the file once it is set aside.
    pub(crate) fn damaged(&self) -> String {
        format!("{self}{DAMAGED}")
    }

    pub(super) fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }
}

/// What is put behind the name of a segment that is set aside.
pub(crate) const DAMAGED: &str = ".damaged";

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:016x}-{:016x}-{:016x}{EXTENSION}",
            self.serial, self.first, self.salt
        )
    }
}

impl fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
