//! Requests of clients; and, when there are none any more, whether everything comes to rest and free money can be spent.

use std::rc::Rc;

use airouter_billing::budget::{BudgetId, BudgetSlot};
use airouter_billing::event::Payment;
use airouter_billing::posting::LedgerAccount;
use airouter_billing::{Nanos, Quantity, RequestId, Timestamp};

use super::{Broken, CALM_AFTER, Event, Input, Phase, Probe, Promise, REST_WITHIN, World};
use crate::agenda::{MILLI, SECOND};
use crate::population::{Key, id};
use crate::replica::{HangsUp, Purpose, Refusal, Wanted};

/// How many times somebody tries to spend all that is free.
const PROBES: u32 = 6;

impl World {
    pub(super) fn tell_auditor_of_credits(&mut self) {
        for (account, payment) in &self.population.accounts {
            if *payment == Payment::Prepaid {
                let row = self
                    .database
                    .balances
                    .get(account)
                    .copied()
                    .unwrap_or_default();
                self.auditor.adjusted(*account, Nanos::new(row.balance));
            }
        }
    }

    pub(super) fn next_request(&mut self) {
        if self.requests >= self.scenario.requests {
            self.agenda.plan(0, Event::Calm);
            return;
        }
        let after = self.dice.between(1, 2 * self.scenario.pace);
        self.agenda.plan(after, Event::Request);
        let key = self.any_key();
        let replica = self.dice.index(self.machines.len());
        let request = self.ask(replica, &key, Purpose::Answer);
        if self.dice.happens(self.scenario.leaves) {
            let patience = self.dice.one_of(&[50 * MILLI, SECOND, 20 * SECOND]);
            let after = self.dice.between(1, patience);
            let hangs_up = self.dice.one_of(&[HangsUp::Now, HangsUp::AtTheEnd]);
            self.plan_input(replica, after, Input::ClientGone { request, hangs_up });
        }
    }

    /// Some keys are used more than others, so that requests meet on the same budgets.
    fn any_key(&mut self) -> Key {
        let count = self.population.keys.len();
        let most = if self.dice.happens(7_000) {
            count.min(3)
        } else {
            count
        };
        self.population.keys[self.dice.index(most)].clone()
    }

    fn ask(&mut self, replica: usize, key: &Key, purpose: Purpose) -> RequestId {
        self.requests += 1;
        let request = RequestId::new(id(4, u128::from(self.requests)));
        let model = self.dice.index(self.catalog.models.len());
        let wanted = Wanted {
            request,
            key: key.clone(),
            terms: self.catalog.terms(key.account, model),
            model,
            prompt_bytes: self.dice.between(40, 4_000).unsigned_abs(),
            output_limit: self
                .dice
                .happens(5_000)
                .then(|| self.dice.between(1, 2_000).unsigned_abs()),
            purpose,
        };
        let wanted = Rc::new(wanted);
        self.auditor.asked(request, replica, wanted.terms.clone());
        self.asked.insert(request, Rc::clone(&wanted));
        self.plan_input(replica, 0, Input::Arrive(Box::new(Wanted::clone(&wanted))));
        request
    }

    /// Everything is repaired; nothing new comes.
    pub(super) fn rest(&mut self) {
        self.phase = Phase::Resting {
            since: self.agenda.now(),
        };
        self.database_is_up = true;
        self.bus_is_up = true;
        self.database_offset = 0;
        self.auditor.database_clock_jumped(self.agenda.now());
        for at in 0..self.machines.len() {
            self.machines[at].is_linked = true;
            self.machines[at].clock_offset = 0;
            self.resume(at);
            self.agenda.plan(0, Event::Start(at));
        }
        self.agenda.plan(5 * SECOND, Event::Look);
    }

    /// Has everything come to rest?
    pub(super) fn look(&mut self) -> Result<(), Broken> {
        match self.phase {
            Phase::Busy | Phase::Over => Ok(()),
            Phase::Resting { since } if self.is_at_rest() => {
                let calm = self.agenda.now() - since > CALM_AFTER;
                self.phase = Phase::Probing { left: PROBES };
                // Replicas that look around rarely do so once more before they do it often again.
                let wait = if calm { 70 } else { 3 } * SECOND;
                self.agenda.plan(wait, Event::Look);
                Ok(())
            }
            Phase::Resting { since } if self.agenda.now() - since > REST_WITHIN => {
                let what = format!(
                    "after a day something has not come to rest: {:?} {:?}",
                    self.database.leases, self.database.pending
                );
                Err(Broken::new(Promise::NothingForgotten, what))
            }
            Phase::Resting { since } => {
                let wait = if self.agenda.now() - since > 600 * SECOND {
                    120
                } else {
                    5
                };
                self.agenda.plan(wait * SECOND, Event::Look);
                Ok(())
            }
            Phase::Probing { left } => self.probe(left),
        }
    }

    fn is_at_rest(&self) -> bool {
        let replicas = self.machines.iter().all(|machine| {
            machine.spool.is_empty()
                && machine
                    .replica
                    .as_ref()
                    .is_some_and(|replica| replica.is_quiet() && replica.number().is_some())
        });
        replicas && self.database.leases.is_empty() && self.database.pending.is_empty()
    }

    /// One replica takes a little, so that it holds a lease; then another one is asked for all that is free.
    fn probe(&mut self, left: u32) -> Result<(), Broken> {
        self.check_probe()?;
        if left == 0 {
            self.phase = Phase::Over;
            return Ok(());
        }
        self.phase = Phase::Probing { left: left - 1 };
        self.agenda.plan(8 * SECOND, Event::Look);
        let key = self.any_key();
        let Some(free) = self.free_for(&key) else {
            return Ok(());
        };
        if free > 3 && self.requests_left(&key) > 1 {
            let first = self.dice.index(self.machines.len());
            self.ask(first, &key, Purpose::Probe(Nanos::new(free / 3)));
        }
        self.agenda.plan(700 * MILLI, Event::SpendAll(key));
        Ok(())
    }

    /// Asks for all that is free to a key; it must be had.
    pub(super) fn spend_all(&mut self, key: &Key) {
        if let Some(free) = self.free_for(key) {
            let replica = self.dice.index(self.machines.len());
            let request = self.ask(replica, key, Purpose::Probe(Nanos::new(free)));
            self.probe = Some(Probe {
                request,
                is_held: false,
            });
        }
    }

    pub(super) fn check_probe(&mut self) -> Result<(), Broken> {
        match self.probe.take() {
            Some(probe) if !probe.is_held => {
                let what = format!(
                    "{} asked for all that is free and got nothing",
                    probe.request
                );
                Err(Broken::new(Promise::Spendable, what))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn probe_is_held(&mut self, request: RequestId) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.request == request) {
            probe.is_held = true;
        }
    }

    pub(super) fn refused(&mut self, request: RequestId, why: Refusal) -> Result<(), Broken> {
        match self.probe {
            Some(probe) if probe.request == request && !probe.is_held => {
                let what = format!("{request} asked for all that is free and was refused: {why:?}");
                Err(Broken::new(Promise::Spendable, what))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What is free of the tightest money budget, by the tables; `None` when nothing can be spent.
    fn free_for(&self, key: &Key) -> Option<i64> {
        let mut least = 1_000_000_000_000;
        for budget in key.budgets.iter() {
            let slot = budget.slot(self.wall());
            let free = self.unspent(slot);
            if free < 1 {
                return None;
            }
            if budget.quantity == Quantity::Nanos {
                least = least.min(free);
            }
        }
        Some(least)
    }

    fn requests_left(&self, key: &Key) -> i64 {
        let of_requests = key
            .budgets
            .iter()
            .filter(|budget| budget.quantity == Quantity::Requests);
        let left = of_requests.map(|budget| self.unspent(budget.slot(self.wall())));
        left.min().unwrap_or(i64::MAX)
    }

    /// What is not spent, whoever has leased it: at rest nobody holds anything.
    fn unspent(&self, slot: BudgetSlot) -> i64 {
        match slot.id {
            BudgetId::Balance(account) => {
                let row = self
                    .database
                    .balances
                    .get(&account)
                    .copied()
                    .unwrap_or_default();
                let owed = LedgerAccount::Receivable(account);
                let owed = self.database.accounts.get(&owed).copied().unwrap_or(0);
                row.balance + row.credit_line - owed
            }
            BudgetId::Cap(cap) => {
                let spent = self.database.periods.get(&slot).map_or(0, |row| row.spent);
                let cap = self.database.caps.get(&cap).copied().flatten();
                cap.unwrap_or(i64::MAX).saturating_sub(spent)
            }
        }
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.true_time())
    }
}
