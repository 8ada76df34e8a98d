//! What is booked of a span of time, summed request by request.

use std::collections::HashSet;

use rust_decimal::Decimal;

use super::sample::{Chosen, Sampling};
use super::spend::{Spend, SumOverflow};
use super::{BookedRequest, Purse};
use crate::ids::RequestId;
use crate::time::Timestamp;
use crate::utc_day::UtcDay;

/// The upstream's clock and ours may differ by so much, and it books that much after a request has ended.
const SLACK_SECONDS: i64 = 60;
/// So many doubled generations are told one by one; the others are a part of the span's difference.
const MOST_REPEATED: usize = 1_000;

/// From when to when; the end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

impl Span {
    /// A day.
    pub fn day(day: UtcDay) -> Self {
        Self {
            from: day.begins(),
            to: day.ends(),
        }
    }

    /// With those requests at its edges that the upstream may count to it, or beyond it.
    #[must_use]
    pub const fn with_edges(self) -> Self {
        Self {
            from: self.from.plus_seconds(-SLACK_SECONDS),
            to: self.to.plus_seconds(SLACK_SECONDS),
        }
    }

    fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// To which span a request counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// To that in which it was admitted.
    ByAdmission,
    /// To that in which it ended.
    ByEnd,
}

/// A generation that is booked more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The first of its requests.
    pub first: BookedRequest,
    /// What all of them come to.
    pub spend: Spend,
    /// How many they are.
    pub times: u64,
}

/// What is booked of a span. Requests must come in the order of their generation ids.
#[derive(Debug)]
pub struct Books {
    span: Span,
    counting: Counting,
    /// All of the span.
    pub booked: Spend,
    /// How many requests that were.
    pub requests: u64,
    /// Of the span, but the upstream may count it to the next one.
    pub may_be_later: Spend,
    /// Of the next span, but the upstream may count it to this one.
    pub may_be_earlier: Spend,
    /// Of the span, but the upstream may count it to the one before.
    pub may_be_before: Spend,
    /// Of the span before, but the upstream may count it to this one.
    pub may_be_after: Spend,
    watched: HashSet<RequestId>,
    seen_again: Vec<BookedRequest>,
    chosen: Chosen,
    run: Option<Repeated>,
    repeated: Vec<Repeated>,
}

impl Books {
    /// Of a span, in which some requests are chosen to be compared one by one, and those that are `watched`.
    pub fn new(
        span: Span,
        counting: Counting,
        sampling: Sampling,
        watched: HashSet<RequestId>,
    ) -> Self {
        Self {
            span,
            counting,
            booked: Spend::default(),
            requests: 0,
            may_be_later: Spend::default(),
            may_be_earlier: Spend::default(),
            may_be_before: Spend::default(),
            may_be_after: Spend::default(),
            watched,
            seen_again: Vec::new(),
            chosen: Chosen::new(sampling),
            run: None,
            repeated: Vec::new(),
        }
    }

    /// Adds a request, if it is of this span or at its end.
    pub fn add(&mut self, request: BookedRequest) -> Result<(), SumOverflow> {
        let at = match self.counting {
            Counting::ByAdmission => request.admitted_at,
            Counting::ByEnd => request.finished_at,
        };
        let Span { from, to } = self.span;
        let from_when = request.admitted_at.plus_seconds(-SLACK_SECONDS);
        let to_when = request.finished_at.plus_seconds(SLACK_SECONDS);
        if at >= to && from_when < to {
            self.may_be_earlier = self.may_be_earlier.plus(request.spend)?;
        }
        if at < from && to_when >= from {
            self.may_be_after = self.may_be_after.plus(request.spend)?;
        }
        if !self.span.contains(at) {
            return Ok(());
        }
        if to_when >= to {
            self.may_be_later = self.may_be_later.plus(request.spend)?;
        }
        if from_when < from {
            self.may_be_before = self.may_be_before.plus(request.spend)?;
        }
        self.booked = self.booked.plus(request.spend)?;
        self.requests += 1;
        let is_repeat = self.run.as_ref().is_some_and(|run| {
            request.generation_id.is_some() && run.first.generation_id == request.generation_id
        });
        if let Some(run) = self.run.as_mut().filter(|_| is_repeat) {
            run.spend = run.spend.plus(request.spend)?;
            run.times += 1;
        } else {
            self.close_run();
            self.run = Some(Repeated {
                spend: request.spend,
                first: request,
                times: 1,
            });
        }
        Ok(())
    }

    fn close_run(&mut self) {
        match self.run.take() {
            Some(run) if run.times > 1 && self.repeated.len() < MOST_REPEATED => {
                self.repeated.push(run);
            }
            Some(run) if run.times == 1 => {
                if self.watched.contains(&run.first.request) {
                    self.seen_again.push(run.first);
                } else {
                    self.chosen.consider(run.first);
                }
            }
            Some(_) | None => {}
        }
    }

    /// How much may be counted differently at the end of the span: to the next one, and from the next one.
    pub(super) const fn edge(&self, purse: Purse) -> (Decimal, Decimal) {
        (self.may_be_later.of(purse), self.may_be_earlier.of(purse))
    }

    /// The requests that were chosen or are watched, and the generations that are booked more than once. To be asked for
    /// once, when all requests were added.
    pub fn take_single(&mut self) -> (Vec<BookedRequest>, Vec<Repeated>) {
        self.close_run();
        let chosen = std::mem::replace(&mut self.chosen, Chosen::new(Sampling::Some));
        let mut single = std::mem::take(&mut self.seen_again);
        single.extend(chosen.into_requests());
        (single, std::mem::take(&mut self.repeated))
    }
}
