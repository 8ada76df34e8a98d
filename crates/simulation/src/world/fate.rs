//! What befalls replicas and the database, and what the operator does.

use airouter_billing::budget::BudgetId;
use airouter_billing::event::Payment;
use airouter_billing::{Nanos, Quantity};

use super::{Broken, Event, Input, Phase, World};
use crate::agenda::{MILLI, Moment, SECOND};
use crate::population::any_amount;
use crate::sight::Sight;

/// Jumps of the database's clock: what is counted too much must stay below the grace.
const MOST_DATABASE_JUMPS: u32 = 10;
/// Half a minute, an hour, a day.
const JUMPS: [Moment; 4] = [SECOND / 2, 30 * SECOND, 3_600 * SECOND, 86_400 * SECOND];

impl World {
    pub(super) fn plan_trouble(&mut self) {
        for (every, is_fate) in [(self.scenario.fate, true), (self.scenario.operator, false)] {
            if let Some(every) = every {
                let after = self.dice.between(MILLI, 2 * every);
                let event = if is_fate {
                    Event::Fate
                } else {
                    Event::Operator
                };
                self.agenda.plan(after, event);
            }
        }
    }

    /// One blow of fate.
    pub(super) fn strike(&mut self) {
        let (Phase::Busy, Some(every)) = (self.phase, self.scenario.fate) else {
            return;
        };
        let after = self.dice.between(MILLI, 2 * every);
        self.agenda.plan(after, Event::Fate);
        let at = self.dice.index(self.machines.len());
        match self.dice.between(0, 9) {
            0 | 1 => {
                let waits = [SECOND / 2, 4 * SECOND, 190 * SECOND, 300 * SECOND];
                let wait = self.dice.one_of(&waits);
                let machine = &mut self.machines[at];
                if machine.replica.is_some() && machine.paused.is_none() {
                    machine.paused = Some((self.agenda.now(), Vec::new()));
                    self.agenda.plan(wait, Event::Resume(at));
                }
            }
            2 => self.crash(at),
            3 | 4 => {
                let waits = [SECOND, 5 * SECOND, 100 * SECOND, 220 * SECOND];
                let wait = self.dice.one_of(&waits);
                self.machines[at].is_linked = false;
                self.agenda.plan(wait, Event::LinkBack(at));
            }
            5 | 6 => {
                let waits = [SECOND / 2, 4 * SECOND, 20 * SECOND, 60 * SECOND];
                let wait = self.dice.one_of(&waits);
                self.database_is_up = false;
                self.agenda.plan(wait, Event::DatabaseBack);
            }
            7 => self.jump(at),
            _ => {
                self.bus_is_up = false;
                let wait = self.dice.between(SECOND, 30 * SECOND);
                self.agenda.plan(wait, Event::BusBack);
            }
        }
    }

    fn jump(&mut self, at: usize) {
        let by = self.dice.one_of(&JUMPS);
        let by = if self.dice.happens(5_000) { by } else { -by };
        if self.dice.happens(6_000) {
            self.machines[at].clock_offset = by;
        } else if self.database_jumps < MOST_DATABASE_JUMPS {
            self.database_jumps += 1;
            self.database_offset += by;
            self.auditor.database_clock_jumped(self.agenda.now());
        }
    }

    pub(super) fn resume(&mut self, at: usize) {
        let now = self.agenda.now();
        let paused = self.machines[at].paused.take();
        if let Some((since, _)) = &paused {
            self.machines[at].slept = (*since, now);
        }
        for (life, input) in paused.map_or_else(Vec::new, |(_, inputs)| inputs) {
            self.agenda.plan(
                0,
                Event::Input {
                    replica: at,
                    life,
                    input,
                },
            );
        }
    }

    /// The operator changes something.
    pub(super) fn operate(&mut self) -> Result<(), Broken> {
        let (Phase::Busy, Some(every)) = (self.phase, self.scenario.operator) else {
            return Ok(());
        };
        let after = self.dice.between(MILLI, 2 * every);
        self.agenda.plan(after, Event::Operator);
        match self.dice.between(0, 6) {
            0 => self.credit_or_debit(),
            1 => self.change_cap(),
            2 | 3 => self.refund()?,
            _ => self.catalog.change(&mut self.dice),
        }
        Ok(())
    }

    fn credit_or_debit(&mut self) {
        let account = self.dice.index(self.population.accounts.len());
        let (id, payment) = self.population.accounts[account];
        if payment != Payment::Prepaid {
            return;
        }
        let amount = any_amount(&mut self.dice);
        if self.dice.happens(6_000) {
            self.agenda.plan(0, Event::Debit { account, amount });
        } else {
            // Leases are recalled before a debit, and the operator waits a little for them.
            self.publish(&Input::Recall(BudgetId::Balance(id)));
            self.agenda.plan(
                800 * MILLI,
                Event::Debit {
                    account,
                    amount: -amount,
                },
            );
        }
    }

    pub(super) fn adjust(&mut self, account: usize, amount: i64) {
        let (id, _) = self.population.accounts[account];
        self.database.adjust(id, Nanos::new(amount));
        self.auditor.adjusted(id, Nanos::new(amount));
        self.log_change(&Input::BudgetChanged(BudgetId::Balance(id)));
    }

    fn change_cap(&mut self) {
        if self.population.caps.is_empty() {
            return;
        }
        let at = self.dice.index(self.population.caps.len());
        let cap = self.population.caps[at];
        let amount = match cap.quantity {
            Quantity::Nanos => any_amount(&mut self.dice),
            Quantity::Requests => self.dice.between(0, 200),
        };
        let amount = (!self.dice.happens(500)).then_some(amount);
        if let BudgetId::Cap(id) = cap.id {
            self.database.set_cap(id, amount);
            self.auditor.cap_changed(&self.database, cap.id);
            self.log_change(&Input::BudgetChanged(cap.id));
        }
    }

    /// Of something that was charged: all, a part, more than there is, and often again.
    fn refund(&mut self) -> Result<(), Broken> {
        let count = self.database.requests.len();
        if count == 0 {
            return Ok(());
        }
        let at = if self.dice.happens(5_000) {
            0
        } else {
            self.dice.index(count)
        };
        let row = &self.database.requests[at];
        let (request, payer) = (row.event.request.id, row.event.request.payer);
        let charged = row.covered.charged.get();
        let amount = match self.dice.between(0, 3) {
            0 => charged,
            1 => self.dice.between(0, charged + 1),
            _ => charged + self.dice.between(0, 1_000),
        };
        if self.database.refund(request, Nanos::new(amount)) {
            self.saw(Sight::Refund);
            self.auditor.refunded(request, payer, Nanos::new(amount))?;
            self.log_change(&Input::BudgetChanged(BudgetId::Balance(payer)));
        } else {
            self.saw(Sight::NoRefund);
        }
        Ok(())
    }
}
