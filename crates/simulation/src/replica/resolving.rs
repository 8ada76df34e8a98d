//! Requests whose usage did not come: the generation record is asked for, with backoff.

use airouter_billing::budget::Quantity;
use airouter_billing::event::{LossReason, Outcome};
use airouter_billing::holds::Holds;
use airouter_billing::pricing::{self, Priced, Terms};
use airouter_billing::recovery::{self, Next, PendingReason};
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{Nanos, RequestId, TokenCounts, Usage};
use rust_decimal::Decimal;

use super::leasing::CellRef;
use super::serving::{Finished, usage_of};
use super::{Input, Output, Replica, Senses};
use crate::agenda::Moment;
use crate::messages::{Job, OwnPending, Pending, ReplicaNumber};
use crate::upstream::Reported;

/// A request whose usage is not known, with what it still holds here.
#[derive(Debug)]
pub(super) struct Unsettled {
    pending: Pending,
    /// `None` after a restart: its leases have ended.
    holds: Option<(Holds<CellRef>, ReplicaNumber)>,
    attempts: u32,
}

impl Replica {
    pub(super) fn find_out(
        &mut self,
        pending: Pending,
        holds: Option<(Holds<CellRef>, ReplicaNumber)>,
        senses: Senses<'_>,
    ) {
        let request = pending.request.id;
        let unsettled = Unsettled {
            pending,
            holds,
            attempts: 0,
        };
        self.unsettled.insert(request, unsettled);
        self.ask_later(request, senses);
    }

    /// A pending request of a replica that has ended, or one of its own of which the answer got lost.
    pub(super) fn take_up(&mut self, pending: Pending, senses: Senses<'_>) {
        let request = pending.request.id;
        let is_known = match pending.reason {
            PendingReason::UsageUnknown => self.is_known_to_have_ended(request),
            PendingReason::InFlight | PendingReason::FailedAttempt => self.is_known(request),
        };
        if !is_known {
            self.find_out(pending, None, senses);
        }
    }

    /// Whether it knows more of a request than that it was in flight.
    fn is_known_to_have_ended(&self, request: RequestId) -> bool {
        let unsettled = self.unsettled.get(&request);
        self.running.contains_key(&request)
            || unsettled.is_some_and(|known| known.pending.reason != PendingReason::InFlight)
            || self.settler.knows_the_end_of(request)
    }

    /// Pending requests that are its own: those that it knows nothing of a second time are taken up. (What it has just
    /// settled may still have been there when the database looked.)
    pub(super) fn look_through_own(&mut self, own: Vec<Pending>, senses: Senses<'_>) {
        let strays = std::mem::take(&mut self.strays);
        for pending in own {
            let request = pending.request.id;
            if strays.contains(&request) {
                self.take_up(pending, senses);
            } else if !self.is_known(request) {
                self.strays.insert(request);
                self.own_pending = OwnPending::Too;
            }
        }
    }

    fn is_known(&self, request: RequestId) -> bool {
        self.running.contains_key(&request)
            || self.unsettled.contains_key(&request)
            || self.settler.knows(request)
    }

    fn ask_later(&mut self, request: RequestId, senses: Senses<'_>) {
        let Some(unsettled) = self.unsettled.get(&request) else {
            return;
        };
        let pending = &unsettled.pending;
        if pending.served.generation_id.is_none() {
            return self.settle_found(request, None, senses);
        }
        match recovery::next(
            pending.reason,
            unsettled.attempts,
            pending.since,
            senses.wall,
        ) {
            Next::GiveUp => self.settle_found(request, None, senses),
            Next::AskAt(at) => {
                let wait = Moment::try_from(at.micros_since(senses.wall)).unwrap_or(Moment::MAX);
                self.outputs
                    .push(Output::Timer(wait, Input::AskRecord(request)));
            }
        }
    }

    pub(super) fn ask_record(&mut self, request: RequestId) {
        if let Some(unsettled) = self.unsettled.get_mut(&request)
            && let Some(generation) = unsettled.pending.served.generation_id.clone()
        {
            unsettled.attempts += 1;
            self.outputs.push(Output::ReadRecord {
                request,
                generation,
            });
        }
    }

    pub(super) fn record_came(
        &mut self,
        request: RequestId,
        found: Option<Reported>,
        senses: Senses<'_>,
    ) {
        match found {
            Some(reported) => self.settle_found(request, Some(&reported), senses),
            None => self.ask_later(request, senses),
        }
    }

    fn settle_found(&mut self, request: RequestId, found: Option<&Reported>, senses: Senses<'_>) {
        let Some(unsettled) = self.unsettled.remove(&request) else {
            return;
        };
        let Unsettled { pending, holds, .. } = unsettled;
        let is_failed_attempt = pending.reason == PendingReason::FailedAttempt;
        let priced = found.and_then(|reported| priced(&pending, reported));
        let was_billed = priced.is_some_and(|(_, priced)| !priced.list_cost.is_zero());
        if is_failed_attempt && !was_billed {
            return self.enqueue(Job::Forget(request), senses);
        }
        let (usage, priced, outcome) = match priced {
            Some((usage, priced)) => (usage, priced, pending.reason.outcome()),
            None => unknown(),
        };
        // An event needs a number of which it was spent: of what is held nowhere, any will do.
        let number = holds.as_ref().map_or(0, |(_, number)| *number);
        let charges = match outcome {
            Outcome::Charged => charges(&pending, holds, priced.price),
            Outcome::Lost(_) => Vec::new(),
        };
        self.outputs.push(Output::Spent {
            request,
            charges: charges.clone(),
        });
        let finished = Finished {
            facts: pending.request,
            served: pending.served,
            usage,
            priced,
            outcome,
            ending: pending.ending,
            charges,
        };
        let event = finished.into_event(senses.wall);
        self.enqueue(Job::Event(Box::new(event), number), senses);
    }
}

fn unknown() -> (Usage, Priced, Outcome) {
    let usage = Usage {
        tokens: TokenCounts::default(),
        reported_cost: Some(Decimal::ZERO),
        inference: Inference::Credits,
    };
    let priced = Priced {
        list_cost: Decimal::ZERO,
        source: CostSource::GenerationRecord,
        cost: Nanos::ZERO,
        price: Nanos::ZERO,
    };
    (usage, priced, Outcome::Lost(LossReason::Unknown))
}

fn priced(pending: &Pending, reported: &Reported) -> Option<(Usage, Priced)> {
    let usage = usage_of(reported)?;
    let terms = Terms {
        discount: pending.served.discount,
        rule: &pending.request.rule,
    };
    let at = pending.request.admitted_at;
    let priced = pricing::price(&usage, CostSource::GenerationRecord, terms, None, at).ok()?;
    Some((usage, priced))
}

/// What the request takes from its budgets: out of its holds, or, when they are gone with an earlier life, out of what
/// is free.
fn charges(
    pending: &Pending,
    holds: Option<(Holds<CellRef>, ReplicaNumber)>,
    price: Nanos,
) -> Vec<BudgetCharge> {
    match holds {
        Some((holds, _)) => holds.spend(price),
        None => pending
            .holds
            .iter()
            .map(|held| {
                let excess = match held.quantity {
                    Quantity::Nanos => price.get(),
                    Quantity::Requests => 1,
                };
                BudgetCharge {
                    from_lease: 0,
                    excess,
                    ..*held
                }
            })
            .collect(),
    }
}
