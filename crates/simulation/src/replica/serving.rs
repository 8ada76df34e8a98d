//! The way of a request through a replica once it has its hold: forward, meter, settle.

use std::collections::BTreeSet;

use airouter_billing::budget::{BudgetId, BudgetRef};
use airouter_billing::decimal::parse_decimal;
use airouter_billing::event::{Ending, RequestFacts, Served};
use airouter_billing::fault::{Fault, is_planted};
use airouter_billing::holds::Holds;
use airouter_billing::pricing::{self, Priced, Terms as PriceTerms};
use airouter_billing::recovery::PendingReason;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{Nanos, Outcome, RequestId, Timestamp, Usage, UsageEvent};

use super::leasing::CellRef;
use super::{HangsUp, Output, Refusal, Replica, Senses, Wanted};
use crate::messages::{Job, Pending, ReplicaNumber};
use crate::population::{self, Terms};
use crate::upstream::{Piece, Question, Reported};

/// A request is written down at this age.
const WRITE_DOWN_AFTER: u64 = 700_000;
/// How many master accounts are tried.
const ATTEMPTS: u32 = 2;

/// A request that this replica serves.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) wanted: Wanted,
    pub(super) tries: u32,
    pub(super) recalled: BTreeSet<BudgetId>,
    pub(super) short: Option<(BudgetRef, i64)>,
    pub(super) since: Timestamp,
    pub(super) client: Client,
    pub(super) admitted: Option<Admitted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Here,
    Gone,
}

/// What is known of a request once it holds what it may cost.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) facts: RequestFacts,
    pub(super) holds: Holds<CellRef>,
    pub(super) charges: Vec<BudgetCharge>,
    pub(super) number: ReplicaNumber,
    pub(super) output_limit: u64,
    pub(super) attempt: u32,
    pub(super) served: Served,
    pub(super) written: Option<Served>,
}

/// A finished request: what it was, and how its price came about.
pub(super) struct Finished {
    pub(super) facts: RequestFacts,
    pub(super) served: Served,
    pub(super) usage: Usage,
    pub(super) priced: Priced,
    pub(super) outcome: Outcome,
    pub(super) ending: Ending,
    pub(super) charges: Vec<BudgetCharge>,
}

impl Finished {
    pub(super) fn into_event(self, now: Timestamp) -> UsageEvent {
        UsageEvent {
            request: self.facts,
            served: self.served,
            tokens: self.usage.tokens,
            reported_cost: self.usage.reported_cost.unwrap_or(self.priced.list_cost),
            source: self.priced.source,
            inference: self.usage.inference,
            list_cost: self.priced.list_cost,
            cost: self.priced.cost,
            price: match self.outcome {
                Outcome::Charged => self.priced.price,
                Outcome::Lost(_) => Nanos::ZERO,
            },
            outcome: self.outcome,
            ending: self.ending,
            finished_at: now,
            first_byte_micros: None,
            charges: self.charges,
        }
    }
}

/// Usage as billing understands it.
pub(super) fn usage_of(reported: &Reported) -> Option<Usage> {
    let cost = reported
        .cost
        .as_deref()
        .map(parse_decimal)
        .transpose()
        .ok()?;
    Some(Usage {
        tokens: reported.tokens,
        reported_cost: cost,
        inference: Inference::Credits,
    })
}

impl Replica {
    /// Sends it to the next master account.
    pub(super) fn forward(&mut self, request: RequestId, senses: Senses<'_>) {
        let Some(running) = self.running.get_mut(&request) else {
            return;
        };
        let Some(admitted) = &mut running.admitted else {
            return;
        };
        admitted.attempt += 1;
        let masters = &senses.catalog.masters;
        let (master, discount) = masters[admitted.attempt as usize % masters.len()];
        admitted.served.master_account = master;
        admitted.served.discount = discount;
        admitted.served.generation_id = None;
        let attempt = admitted.attempt;
        self.outputs.push(Output::Attempt {
            request,
            attempt,
            discount,
            failed_as: failed_attempt_id(request, attempt),
        });
        self.outputs.push(Output::Forward(Question {
            request,
            attempt,
            prompt_bytes: running.wanted.prompt_bytes,
            output_limit: admitted.output_limit,
        }));
    }

    pub(super) fn hear(
        &mut self,
        request: RequestId,
        attempt: u32,
        piece: Piece,
        senses: Senses<'_>,
    ) {
        let Some(running) = self.running.get_mut(&request) else {
            return;
        };
        let client = running.client;
        let Some(admitted) = &mut running.admitted else {
            return;
        };
        if admitted.attempt != attempt {
            return;
        }
        match piece {
            Piece::Failed { generation } => {
                admitted.served.generation_id = generation;
                self.attempt_failed(request, senses);
            }
            Piece::First { generation } => admitted.served.generation_id = Some(generation),
            Piece::Last { usage } => {
                let ending = match client {
                    Client::Here => Ending::Complete,
                    Client::Gone => Ending::ClientGone,
                };
                self.finish(request, usage.as_ref(), ending, senses);
            }
            Piece::Broken => self.finish(request, None, Ending::UpstreamFailed, senses),
        }
    }

    /// What the upstream may have billed for a failed attempt is found out; another master account is tried.
    fn attempt_failed(&mut self, request: RequestId, senses: Senses<'_>) {
        let Some(running) = self.running.get(&request) else {
            return;
        };
        let is_wanted = running.client == Client::Here;
        let Some(admitted) = &running.admitted else {
            return;
        };
        let attempt = admitted.attempt;
        if admitted.served.generation_id.is_some() {
            let pending = Pending {
                request: RequestFacts {
                    id: failed_attempt_id(request, attempt),
                    ..admitted.facts.clone()
                },
                served: admitted.served.clone(),
                reason: PendingReason::FailedAttempt,
                ending: Ending::UpstreamFailed,
                holds: Vec::new(),
                since: senses.wall,
            };
            self.enqueue(Job::Open(Box::new(pending.clone())), senses);
            self.find_out(pending, None, senses);
        }
        if attempt < ATTEMPTS && is_wanted {
            self.forward(request, senses);
        } else {
            self.outputs
                .push(Output::Refuse(request, Refusal::Upstream));
            self.drop_request(request, senses);
        }
    }

    pub(super) fn client_gone(
        &mut self,
        request: RequestId,
        hangs_up: HangsUp,
        senses: Senses<'_>,
    ) {
        self.nobody_waits_for(request);
        let Some(running) = self.running.get_mut(&request) else {
            return;
        };
        running.client = Client::Gone;
        let Some(admitted) = &running.admitted else {
            self.running.remove(&request);
            return;
        };
        if hangs_up == HangsUp::AtTheEnd {
            return;
        }
        let attempt = admitted.attempt;
        self.outputs.push(Output::Cancel { request, attempt });
        self.finish(request, None, Ending::ClientGone, senses);
    }

    /// Nothing was served: what it holds goes back.
    pub(super) fn drop_request(&mut self, request: RequestId, senses: Senses<'_>) {
        let Some(running) = self.running.remove(&request) else {
            return;
        };
        if running
            .admitted
            .is_some_and(|admitted| admitted.written.is_some())
        {
            self.enqueue(Job::Forget(request), senses);
        }
        self.outputs.push(Output::Dropped(request));
    }

    /// Settles by what was reported; where that is nothing, the generation record is asked for, and the holds stay.
    fn finish(
        &mut self,
        request: RequestId,
        reported: Option<&Reported>,
        ending: Ending,
        senses: Senses<'_>,
    ) {
        let Some(running) = self.running.remove(&request) else {
            return;
        };
        let Running {
            wanted,
            client,
            admitted: Some(admitted),
            ..
        } = running
        else {
            return;
        };
        if client == Client::Here {
            self.somebody_waits_for(request, ending);
        }
        let Admitted {
            facts,
            holds,
            charges,
            number,
            served,
            ..
        } = admitted;
        let priced = reported.and_then(|reported| {
            let usage = usage_of(reported)?;
            let terms = in_force(&wanted, senses);
            let priced = price(
                &usage,
                CostSource::Reported,
                (&served, &terms),
                facts.admitted_at,
            )?;
            Some((usage, priced))
        });
        let Some((usage, priced)) = priced else {
            let pending = Pending {
                request: facts,
                served,
                reason: PendingReason::UsageUnknown,
                ending,
                holds: charges,
                since: senses.wall,
            };
            self.enqueue(Job::Open(Box::new(pending.clone())), senses);
            return self.find_out(pending, Some((holds, number)), senses);
        };
        let charges = holds.spend(priced.price);
        self.outputs.push(Output::Spent {
            request,
            charges: charges.clone(),
        });
        let finished = Finished {
            facts,
            served,
            usage,
            priced,
            outcome: Outcome::Charged,
            ending,
            charges,
        };
        let event = finished.into_event(senses.wall);
        self.enqueue(Job::Event(Box::new(event), number), senses);
    }

    /// Requests of some age ride in the next commit, so that a crash forgets none.
    pub(super) fn write_down(&mut self, senses: Senses<'_>) {
        if self.number.is_none() {
            return;
        }
        let mut notes = Vec::new();
        for running in self.running.values_mut() {
            let is_old = senses.steady.micros_since(running.since) >= WRITE_DOWN_AFTER;
            if let Some(admitted) = running.admitted.as_mut().filter(|_| is_old)
                && admitted.written.as_ref() != Some(&admitted.served)
            {
                admitted.written = Some(admitted.served.clone());
                notes.push(Job::Note(Box::new(Pending {
                    request: admitted.facts.clone(),
                    served: admitted.served.clone(),
                    reason: PendingReason::InFlight,
                    ending: Ending::Interrupted,
                    holds: admitted.charges.clone(),
                    since: senses.wall,
                })));
            }
        }
        for note in notes {
            self.enqueue(note, senses);
        }
    }
}

/// The id under which a failed attempt is booked.
pub(crate) fn failed_attempt_id(request: RequestId, attempt: u32) -> RequestId {
    let number = request.get().as_u128() & 0xffff_ffff;
    RequestId::new(population::id(4 + u128::from(attempt), number))
}

/// What a request is priced by: what was in force at its admission.
fn in_force(wanted: &Wanted, senses: Senses<'_>) -> Terms {
    if is_planted(Fault::PriceChangedInMidRequest) {
        return senses.catalog.terms(wanted.key.account, wanted.model);
    }
    wanted.terms.clone()
}

fn price(
    usage: &Usage,
    source: CostSource,
    (served, terms): (&Served, &Terms),
    at: Timestamp,
) -> Option<Priced> {
    let price_terms = PriceTerms {
        discount: served.discount,
        rule: &terms.rule,
    };
    pricing::price(usage, source, price_terms, Some(&terms.model), at).ok()
}
