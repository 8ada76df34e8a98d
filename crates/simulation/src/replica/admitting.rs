//! Admission: a request takes its hold, of all of its budgets or of none.

use std::collections::BTreeSet;

use airouter_billing::budget::{BudgetRef, Quantity};
use airouter_billing::event::{Delivery, RequestFacts, Served};
use airouter_billing::hold::{self, Candidate, Decision, HoldRequest, MaxPrice, PromptSize};
use airouter_billing::holds::{Holds, LeaseCell, NoHold};
use airouter_billing::plan::PlanPolicy;
use airouter_billing::{ApiKeyId, Nanos, RequestId, Timestamp};

use super::leasing::CellRef;
use super::serving::{Admitted, Client, Running};
use super::{Input, Output, Purpose, Refusal, Replica, Senses, Wanted};
use crate::agenda::MILLI;
use crate::messages::ReplicaNumber;
use crate::population;

/// How often a request tries to take its hold.
const HOLD_TRIES: u32 = 12;
/// How long a request waits for what other replicas give back.
const RECALL_WAIT: i64 = 250 * MILLI;

impl Replica {
    pub(super) fn arrive(&mut self, wanted: Wanted, senses: Senses<'_>) {
        let request = wanted.request;
        let running = Running {
            wanted,
            tries: 0,
            recalled: BTreeSet::new(),
            short: None,
            since: senses.steady,
            client: Client::Here,
            admitted: None,
        };
        self.running.insert(request, running);
        self.try_admit(request, senses);
    }

    /// Tries to take the hold; where a lease lacks something, it is asked for first.
    pub(super) fn try_admit(&mut self, request: RequestId, senses: Senses<'_>) {
        let Some(running) = self.running.get_mut(&request) else {
            return;
        };
        if running.admitted.is_some() {
            return;
        }
        let has_tried_enough = running.tries >= HOLD_TRIES;
        let (Some(number), Some(tenure), false) = (self.number, self.tenure, has_tried_enough)
        else {
            return self.refuse(request, Refusal::Away);
        };
        let wanted = running.wanted.clone();
        let mut free: Option<i64> = None;
        for budget in wanted.key.budgets.iter() {
            let cell = self.cell(*budget, senses.wall);
            if !Self::knows(&cell) {
                return self.ask(&cell, 0, 0, request);
            }
            if budget.quantity == Quantity::Nanos {
                let known = cell.with_lease(|lease| lease.map_or(0, |lease| lease.free()));
                free = Some(free.map_or(known, |least| least.min(known)));
            }
        }
        if let Some(running) = self.running.get_mut(&request) {
            running.tries += 1;
        }
        let (amount, limit) = match decide(&wanted, free, senses) {
            Some(Decision::Hold(hold)) => (hold.amount, hold.output_limit.unwrap_or(8_192)),
            Some(Decision::Unaffordable { needed, .. }) => {
                return self.unaffordable(&wanted, needed.get(), senses);
            }
            None => return self.refuse(request, Refusal::NoMoney),
        };
        let cells: Vec<_> = wanted
            .key
            .budgets
            .iter()
            .map(|budget| {
                (
                    *budget,
                    budget.slot(senses.wall),
                    self.cell(*budget, senses.wall),
                )
            })
            .collect();
        match Holds::take(tenure, cells, amount, senses.steady) {
            Ok(holds) => self.admit(&wanted, (amount, limit), (holds, number), senses),
            Err(NoHold::Dry {
                budget,
                amount,
                shortfall,
            }) => {
                let cell = self.cell(budget, senses.wall);
                self.ask(&cell, amount, shortfall, request);
            }
            Err(NoHold::Ended) => self.refuse(request, Refusal::Away),
            Err(NoHold::Exhausted(budget)) => {
                let amount = match budget.quantity {
                    Quantity::Nanos => amount.get(),
                    Quantity::Requests => 1,
                };
                self.recall_for(request, budget, amount);
            }
        }
    }

    /// A budget knows of too little: it is asked again, unless it said so a moment ago.
    fn unaffordable(&mut self, wanted: &Wanted, needed: i64, senses: Senses<'_>) {
        for budget in wanted.key.budgets.iter() {
            if budget.quantity != Quantity::Nanos {
                continue;
            }
            let cell = self.cell(*budget, senses.wall);
            let known = cell.with_lease(|lease| {
                lease.map(|lease| {
                    let is_refused = lease.is_refused(needed, senses.steady);
                    (lease.free(), is_refused, lease.shortfall(needed))
                })
            });
            match known {
                Some((free, false, shortfall)) if free < needed => {
                    return self.ask(&cell, needed, shortfall, wanted.request);
                }
                Some((free, true, _)) if free < needed => {
                    return self.recall_for(wanted.request, *budget, needed);
                }
                _ => {}
            }
        }
        self.refuse(wanted.request, Refusal::NoMoney);
    }

    /// The database has too little: other replicas are asked, once for each budget.
    fn recall_for(&mut self, request: RequestId, budget: BudgetRef, amount: i64) {
        let Some(running) = self.running.get_mut(&request) else {
            return;
        };
        if !running.recalled.insert(budget.id) {
            return self.refuse(request, Refusal::NoMoney);
        }
        running.short = Some((budget, amount));
        self.outputs.push(Output::Publish(budget.id));
        self.outputs
            .push(Output::Timer(RECALL_WAIT, Input::AskAgain(request)));
    }

    pub(super) fn ask_again(&mut self, request: RequestId, senses: Senses<'_>) {
        let short = self
            .running
            .get_mut(&request)
            .and_then(|running| running.short.take());
        if let Some((budget, amount)) = short {
            let cell = self.cell(budget, senses.wall);
            let shortfall =
                cell.with_lease(|lease| lease.map_or(amount, |lease| lease.shortfall(amount)));
            if shortfall > 0 {
                self.ask(&cell, amount, shortfall, request);
            } else {
                self.try_admit(request, senses);
            }
        }
    }

    fn admit(
        &mut self,
        wanted: &Wanted,
        (amount, limit): (Nanos, u64),
        (holds, number): (Holds<CellRef>, ReplicaNumber),
        senses: Senses<'_>,
    ) {
        let facts = facts_of(wanted, amount, senses.wall);
        let charges = holds.as_charges();
        self.outputs.push(Output::Holds {
            request: wanted.request,
            number,
            hold: amount,
            charges: charges.clone(),
        });
        let (master_account, discount) = senses.catalog.masters[0];
        let admitted = Admitted {
            facts,
            holds,
            charges,
            number,
            output_limit: limit,
            attempt: 0,
            served: Served {
                master_account,
                discount,
                generation_id: None,
                model: Some(wanted.terms.model.id.clone()),
                provider: None,
            },
            written: None,
        };
        if let Some(running) = self.running.get_mut(&wanted.request) {
            running.admitted = Some(admitted);
        }
        let after = 700 * MILLI;
        self.outputs.push(Output::Timer(after, Input::WriteDown));
        if matches!(wanted.purpose, Purpose::Probe(_)) {
            self.drop_request(wanted.request, senses);
        } else {
            self.forward(wanted.request, senses);
        }
    }

    pub(super) fn refuse(&mut self, request: RequestId, why: Refusal) {
        if self
            .running
            .get(&request)
            .is_some_and(|running| running.admitted.is_none())
        {
            self.running.remove(&request);
            self.outputs.push(Output::Refuse(request, why));
        }
    }
}

fn decide(wanted: &Wanted, free: Option<i64>, senses: Senses<'_>) -> Option<Decision> {
    if let Purpose::Probe(amount) = wanted.purpose {
        let max_price = MaxPrice::default();
        let output_limit = Some(1);
        return Some(Decision::Hold(hold::Hold {
            amount,
            output_limit,
            output_tokens: 1,
            max_price,
        }));
    }
    let candidates = [Candidate {
        model: &wanted.terms.model,
        rule: &wanted.terms.rule,
        cost_share: senses.catalog.dearest_cost_share(),
    }];
    let prompt = PromptSize {
        text_bytes: wanted.prompt_bytes,
        messages: 1,
        ..PromptSize::default()
    };
    let request = HoldRequest {
        candidates: &candidates,
        prompt: &prompt,
        output_limit: wanted.output_limit,
        client_max_price: MaxPrice::default(),
        cost_raising: Nanos::ZERO,
        policy: &PlanPolicy::default(),
    };
    hold::decide(&request, free.map(Nanos::new)).ok()
}

fn facts_of(wanted: &Wanted, hold: Nanos, now: Timestamp) -> RequestFacts {
    RequestFacts {
        id: wanted.request,
        api_key: ApiKeyId::new(population::id(3, 0)),
        payer: wanted.key.payer,
        payment: wanted.key.payment,
        requested_model: wanted.terms.model.id.clone(),
        model_pricing: Some(wanted.terms.model.version),
        plan_version: wanted.terms.plan_version,
        rule: wanted.terms.rule.clone(),
        fallback_rules: Vec::new(),
        names: Vec::new(),
        delivery: Delivery::Streamed,
        admitted_at: now,
        hold,
    }
}
