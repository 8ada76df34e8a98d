//! What the upstream billed, compared with what is booked here; each difference is posted once.
//!
//! Three comparisons, from the smallest to the largest: a single request with its generation record ([`compare`]), a day
//! with what the upstream says of it ([`Span`], [`Books`], [`judge`]), and sums that only grow with their readings. What
//! a smaller one has found explains a part of a larger one's difference, so that no difference counts twice. A finding
//! that stands is never changed: what is found later is posted as one more entry ([`next_entry`]).

mod books;
mod finding;
mod judgement;
mod sample;
mod spend;

pub use books::{Books, Counting, Repeated, Span};
pub use finding::{
    About, Finding, FindingKey, NextEntry, Observed, Posted, What, compare, compare_repeated,
    next_entry,
};
pub use judgement::{Judged, Readings, Sides, judge, judge_readings};
pub use sample::Sampling;
pub use spend::{Purse, Spend, SumOverflow};

use crate::ids::RequestId;
use crate::time::Timestamp;

/// A request as it is booked here: as the correction says, if it was corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedRequest {
    /// The request.
    pub request: RequestId,
    /// The upstream's id of it, where it told one.
    pub generation_id: Option<String>,
    /// What the upstream took for it, as it told us.
    pub spend: Spend,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When its meter was done.
    pub finished_at: Timestamp,
}

#[cfg(test)]
mod tests;
