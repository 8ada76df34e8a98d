//! Which requests are compared one by one: the same ones however often it is asked.

use std::collections::BTreeMap;

use super::BookedRequest;
use crate::ids::RequestId;

/// At least so many of a span, if there are as many.
const LEAST: usize = 20;
/// One in so many.
const ONE_IN: u64 = 100;
/// At most so many, the others of a span stay unasked.
const MOST: usize = 1_000;
/// With all of them asked for: what a list in memory may hold.
const MOST_OF_ALL: usize = 200_000;

/// How many are compared one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// One in a hundred, at least 20 and at most 1,000 a span, by the lowest of their ids' hashes.
    Some,
    /// Every one, up to 200,000.
    All,
}

/// Those that were chosen so far, by the hashes of their ids.
#[derive(Debug)]
pub(super) struct Chosen {
    sampling: Sampling,
    by_hash: BTreeMap<(u64, RequestId), BookedRequest>,
}

impl Chosen {
    pub(super) const fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            by_hash: BTreeMap::new(),
        }
    }

    /// Takes a request into account. One that the upstream gave no id can't be asked for.
    pub(super) fn consider(&mut self, request: BookedRequest) {
        if request.generation_id.is_none() {
            return;
        }
        self.by_hash
            .insert((hash(request.request), request.request), request);
        let (least, most, bound) = match self.sampling {
            Sampling::Some => (LEAST, MOST, u64::MAX / ONE_IN),
            Sampling::All => (MOST_OF_ALL, MOST_OF_ALL, u64::MAX),
        };
        let is_too_many = self.by_hash.len() > most
            || (self.by_hash.len() > least
                && self
                    .by_hash
                    .last_key_value()
                    .is_some_and(|((hash, _), _)| *hash > bound));
        if is_too_many {
            self.by_hash.pop_last();
        }
    }

    pub(super) fn into_requests(self) -> Vec<BookedRequest> {
        self.by_hash.into_values().collect()
    }
}

/// Spreads ids evenly, whatever their bits are (splitmix64's last steps).
fn hash(request: RequestId) -> u64 {
    let (high, low) = request.get().as_u64_pair();
    let mixed = high.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ low;
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
