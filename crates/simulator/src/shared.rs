//! What all connections of one simulator share, and the names of generations.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    books::{Beginning, Books},
    catalog,
    speaks::Speaks,
};

/// Hexadecimal digits of a generation's number inside its id.
const NUMBER_DIGITS: usize = 12;

/// The books, the prepared model list, and what tells this run's generations from another's.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) speaks: Speaks,
    books: Mutex<Books>,
    pub(crate) models: Bytes,
    run: u32,
}

impl Shared {
    pub(crate) fn new(speaks: Speaks, beginning: Beginning) -> Self {
        let random = RandomState::new().build_hasher().finish();
        Self {
            speaks,
            books: Mutex::new(Books::new(beginning)),
            models: Bytes::from(catalog::listing(speaks).to_string()),
            run: u32::try_from(random >> 32).unwrap_or_default(),
        }
    }

    /// The books, for a moment: never held across a wait.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a generation: `gen-<unix>-<run and number>`, or `chatcmpl-…`.
    pub(crate) fn id(&self, number: u64, started_at: u64) -> String {
        let kind = match self.speaks {
            Speaks::OpenRouter => "gen",
            Speaks::Compatible => "chatcmpl",
        };
        format!(
            "{kind}-{}-{:08x}{number:0NUMBER_DIGITS$x}",
            started_at / 1_000_000,
            self.run
        )
    }

    /// The number in an id, whether or not there is such a generation.
    pub(crate) fn number(id: &str) -> Option<u64> {
        let digits = id.get(id.len().checked_sub(NUMBER_DIGITS)?..)?;
        u64::from_str_radix(digits, 16).ok()
    }
}
