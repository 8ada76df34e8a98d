//! Records that wait on the local disk until the database takes them: a durable queue of opaque bytes.
//!
//! A [`Spool`] is a directory of segments, files that are only appended to. A record is acknowledged when it and the
//! name of its file are on the disk; what is acknowledged is read again after any crash. Reading is at least once: a
//! record that has landed can come again after a crash, and one whose [`Spool::append`] failed can come to light, so
//! landing must be harmless to repeat.
//!
//! All methods of a [`Spool`] can be called from any thread at the same time. They block on the disk, apart from
//! [`Spool::len`], [`Spool::is_empty`] and [`Spool::bytes`]; callers in async code use a blocking thread.

mod disk;
mod error;
pub mod format;
mod queue;
mod segment;
mod spool;

pub use error::{Damage, SpoolError};
pub use spool::{Limits, Opened, Position, Spool, Waiting};

#[cfg(test)]
mod tests;
