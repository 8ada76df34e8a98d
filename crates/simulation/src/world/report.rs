//! What a run has seen.

use std::collections::BTreeMap;

use airouter_billing::{Nanos, Outcome, Timestamp};

use super::{MIDNIGHT, World};
use crate::agenda::SECOND;
use crate::sight::Sight;

/// What a run has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Steps.
    pub steps: u64,
    /// Actions of replicas, as long as there was traffic.
    pub actions: u64,
    /// What happened how often.
    pub seen: BTreeMap<Sight, u64>,
    /// Whether two runs have gone the same way.
    pub trace: u64,
}

impl World {
    pub(super) fn sum_up(&mut self) {
        let midnight = Timestamp::from_micros(MIDNIGHT * SECOND);
        for (sight, times) in [
            (Sight::CutYoung, self.auditor.cut_young),
            (Sight::CutWhileAway, self.auditor.cut_while_away),
        ] {
            self.report.seen.insert(sight, times);
        }
        for row in &self.database.requests {
            let event = &row.event;
            let sight = match event.outcome {
                Outcome::Charged => Sight::Charged,
                Outcome::Lost(_) => Sight::Lost,
            };
            let seen = &mut self.report.seen;
            *seen.entry(sight).or_default() += 1;
            if row.covered.uncollected > Nanos::ZERO {
                *seen.entry(Sight::Uncollected).or_default() += 1;
            }
            let mut periods = event.charges.iter().map(|charge| charge.slot.period_start);
            let has_period = periods.any(|start| start != Timestamp::default());
            if has_period && event.request.admitted_at < midnight && event.finished_at >= midnight {
                *seen.entry(Sight::PeriodEndedMeanwhile).or_default() += 1;
            }
        }
    }

    pub(super) fn saw(&mut self, sight: Sight) {
        *self.report.seen.entry(sight).or_default() += 1;
    }
}
