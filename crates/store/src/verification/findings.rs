//! What does not add up.

use std::collections::BTreeSet;

use crate::ledger::{Check, Finding};

/// So many findings are listed, the others are counted.
const MOST_FINDINGS: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) listed: Vec<Finding>,
    pub(super) more: u64,
    /// Which of the listed are about a usage event, named by its row so far.
    rows: BTreeSet<usize>,
}

impl Findings {
    /// Notes a rule that is broken.
    pub(super) fn add(
        &mut self,
        check: Check,
        subject: impl FnOnce() -> String,
        expected: i128,
        found: i128,
    ) {
        if self.listed.len() >= MOST_FINDINGS {
            self.more += 1;
            return;
        }
        self.listed.push(Finding {
            check,
            subject: subject(),
            expected,
            found,
        });
    }

    /// Notes a rule that is broken, unless the two are equal.
    pub(super) fn compare(
        &mut self,
        check: Check,
        subject: impl FnOnce() -> String,
        expected: i128,
        found: i128,
    ) {
        if expected != found {
            self.add(check, subject, expected, found);
        }
    }

    /// Like [`Findings::compare`], about the usage event in this row.
    pub(super) fn compare_event(&mut self, check: Check, row: &str, expected: i128, found: i128) {
        if expected == found {
            return;
        }
        if self.listed.len() < MOST_FINDINGS {
            self.rows.insert(self.listed.len());
        }
        self.add(check, || row.to_owned(), expected, found);
    }

    /// Counts a rule that is broken without saying where.
    pub(super) const fn count(&mut self) {
        self.more += 1;
    }

    /// The subjects that are still what the adapter knows a usage event by.
    pub(super) fn unnamed(&mut self) -> impl Iterator<Item = &mut String> {
        let rows = std::mem::take(&mut self.rows);
        let listed = self.listed.iter_mut().enumerate();
        listed
            .filter(move |(position, _)| rows.contains(position))
            .map(|(_, finding)| &mut finding.subject)
    }
}
