//! Virtual time: what is to happen, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the run began.
pub(crate) type Moment = i64;

pub(crate) const MILLI: Moment = 1_000;
pub(crate) const SECOND: Moment = 1_000_000;

/// What is to happen, ordered by time, and by when it was planned where the time is the same.
#[derive(Debug)]
pub(crate) struct Agenda<Event> {
    now: Moment,
    planned: u64,
    entries: BinaryHeap<Reverse<Entry<Event>>>,
}

#[derive(Debug)]
struct Entry<Event> {
    at: Moment,
    number: u64,
    event: Event,
}

impl<Event> Agenda<Event> {
    pub(crate) const fn new() -> Self {
        Self {
            now: 0,
            planned: 0,
            entries: BinaryHeap::new(),
        }
    }

    pub(crate) const fn now(&self) -> Moment {
        self.now
    }

    pub(crate) fn plan(&mut self, after: Moment, event: Event) {
        self.planned += 1;
        self.entries.push(Reverse(Entry {
            at: self.now.saturating_add(after.max(0)),
            number: self.planned,
            event,
        }));
    }

    /// What comes next; the time goes on to it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let Reverse(entry) = self.entries.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

impl<Event> Ord for Entry<Event> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<Event> PartialOrd for Entry<Event> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<Event> PartialEq for Entry<Event> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<Event> Eq for Entry<Event> {}
