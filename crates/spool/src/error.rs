//! What can go wrong.

use std::io;
use std::path::PathBuf;

use crate::format::MAX_RECORD_BYTES;

/// Why the spool did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has this directory.
    #[error("the spool {} is in use by another process", .directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The files would be larger than allowed; something must land first.
    #[error("the spool is full: it holds at most {limit} bytes")]
    Full {
        /// `Limits::total_bytes`.
        limit: u64,
    },
    /// A record is larger than any may be.
    #[error("a record of {bytes} bytes is larger than {MAX_RECORD_BYTES} bytes")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A segment was written by a newer version of this program.
    #[error("{file} has format {version}, which this version can't read")]
    NewerFormat {
        /// The segment, in the spool's directory.
        file: String,
        /// The format's version.
        version: u32,
    },
    /// A segment was damaged after it was opened. Said once; reading goes on with what is readable of it.
    #[error("{} is damaged: {} bytes can't be read", .0.file, .0.unreadable_bytes)]
    Damaged(Damage),
    /// The disk refused. What was acknowledged before stays so.
    #[error("the spool can't {doing}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl SpoolError {
    /// For `map_err`: what was tried when the disk refused.
    pub(crate) fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { doing, source }
    }
}

/// A segment that can't be read whole. Its readable records are served; then it is set aside as `….damaged`, and never
/// deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment, in the spool's directory.
    pub file: String,
    /// So many bytes of it can't be read.
    pub unreadable_bytes: u64,
    /// So many records at least are gone, as the numbers of the others show; those at the end of the last segment
    /// can't be counted.
    pub lost_records: u64,
}
