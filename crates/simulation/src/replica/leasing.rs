//! The leases of a replica: asked for when one runs dry, given back when idle or recalled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use airouter_billing::budget::{BudgetRef, BudgetSlot};
use airouter_billing::fault::{Fault, is_planted};
use airouter_billing::holds::LeaseCell;
use airouter_billing::lease::Lease;
use airouter_billing::{BudgetId, RequestId, Timestamp};

use super::{Errand, Output, Replica, Senses};
use crate::agenda::MILLI;
use crate::messages::{Answer, Call, Fenced, ReplicaNumber, Unanswered};
use crate::replica::Input;

/// All that a lease has in the database, whatever that is.
const EVERYTHING: i64 = i64::MAX;

/// One lease and who waits for it.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) budget: BudgetRef,
    pub(super) slot: BudgetSlot,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    lease: Option<Lease>,
    is_asking: bool,
    /// An answer did not come: the database may have reserved more than the lease knows of, never less.
    is_in_doubt: bool,
    waiting: Vec<RequestId>,
}

/// A lease as holds use it.
#[derive(Clone, Debug)]
pub(super) struct CellRef(Rc<Cell>);

impl LeaseCell for CellRef {
    fn with_lease<T>(&self, act: impl FnOnce(Option<&mut Lease>) -> T) -> T {
        act(self.0.state.borrow_mut().lease.as_mut())
    }
}

impl Cell {
    pub(super) fn held(&self) -> Option<i64> {
        self.state.borrow().lease.as_ref().map(Lease::held)
    }

    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        let is_empty = state.lease.as_ref().is_none_or(Lease::is_empty);
        is_empty && !state.is_asking && !state.is_in_doubt
    }
}

impl Replica {
    pub(super) fn cell(&mut self, budget: BudgetRef, wall: Timestamp) -> CellRef {
        let slot = budget.slot(wall);
        let cell = self.cells.entry(slot).or_insert_with(|| {
            Rc::new(Cell {
                budget,
                slot,
                state: RefCell::default(),
            })
        });
        CellRef(Rc::clone(cell))
    }

    /// Whether the replica knows anything of a budget yet.
    pub(super) fn knows(cell: &CellRef) -> bool {
        cell.0.state.borrow().lease.is_some()
    }

    /// Asks for `at_least` more, which a hold of `amount` needs; the request is tried again when the answer is there.
    pub(super) fn ask(&mut self, cell: &CellRef, amount: i64, at_least: i64, request: RequestId) {
        let mut state = cell.0.state.borrow_mut();
        state.waiting.push(request);
        if state.is_asking {
            return;
        }
        state.is_asking = true;
        let stale = state.lease.as_mut().map_or(0, Lease::take_stale);
        drop(state);
        if stale > 0 {
            self.give_back(vec![(cell.0.slot, stale)], Some((amount, at_least)));
        } else {
            self.ask_database(&cell.0, amount, at_least);
        }
    }

    fn ask_database(&mut self, cell: &Cell, amount: i64, at_least: i64) {
        let Some(number) = self.number else {
            return self.refuse_all_waiting(cell);
        };
        let state = cell.state.borrow();
        let wish = state
            .lease
            .as_ref()
            .map_or(at_least, |lease| lease.wish(at_least));
        drop(state);
        let slot = cell.slot;
        let call = Call::Lease {
            replica: number,
            slot,
            at_least,
            wish,
        };
        self.call(
            call,
            Errand::Ask {
                slot,
                number,
                amount,
                at_least,
            },
        );
    }

    pub(super) fn lease_answered(
        &mut self,
        (slot, number): (BudgetSlot, ReplicaNumber),
        (amount, at_least): (i64, i64),
        answer: Result<Answer, Unanswered>,
        senses: Senses<'_>,
    ) {
        let Some(cell) = self.cells.get(&slot).map(Rc::clone) else {
            return;
        };
        cell.state.borrow_mut().is_asking = false;
        match answer {
            Ok(Answer::Leased(Ok(grant))) if self.number == Some(number) => {
                let mut state = cell.state.borrow_mut();
                let lease = state
                    .lease
                    .get_or_insert_with(|| Lease::open(grant.free, senses.steady));
                lease.granted_more(grant, amount, at_least, senses.steady);
                let waiting = std::mem::take(&mut state.waiting);
                drop(state);
                for request in waiting {
                    self.try_admit(request, senses);
                }
            }
            Ok(Answer::Leased(Err(Fenced))) => {
                self.fenced(number, senses);
                self.refuse_all_waiting(&cell);
            }
            Err(Unanswered::Unknown) => {
                cell.state.borrow_mut().is_in_doubt |= self.number == Some(number);
                self.refuse_all_waiting(&cell);
            }
            _ => self.refuse_all_waiting(&cell),
        }
    }

    fn refuse_all_waiting(&mut self, cell: &Cell) {
        let mut state = cell.state.borrow_mut();
        state.is_asking = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for request in waiting {
            self.refuse(request, super::Refusal::Away);
        }
    }

    fn give_back(&mut self, amounts: Vec<(BudgetSlot, i64)>, then: Option<(i64, i64)>) {
        let Some(number) = self.number else {
            for (slot, _) in amounts {
                if let Some(cell) = self.cells.get(&slot).map(Rc::clone) {
                    self.refuse_all_waiting(&cell);
                }
            }
            return;
        };
        let call = Call::GiveBack {
            replica: number,
            amounts: amounts.clone(),
        };
        self.call(
            call,
            Errand::GiveBack {
                number,
                amounts,
                then,
            },
        );
    }

    pub(super) fn given_back(
        &mut self,
        number: ReplicaNumber,
        amounts: &[(BudgetSlot, i64)],
        then: Option<(i64, i64)>,
        answer: Result<Answer, Unanswered>,
        senses: Senses<'_>,
    ) {
        for (slot, amount) in amounts {
            let Some(cell) = self.cells.get(slot).map(Rc::clone) else {
                continue;
            };
            let mut state = cell.state.borrow_mut();
            state.is_asking = false;
            if self.number == Some(number) {
                match &answer {
                    Ok(_) => state.is_in_doubt &= *amount != EVERYTHING,
                    Err(Unanswered::Unknown) => state.is_in_doubt = true,
                    Err(Unanswered::Refused) if *amount != EVERYTHING => {
                        if let Some(lease) = &mut state.lease {
                            lease.not_given_back(*amount);
                        }
                    }
                    Err(Unanswered::Refused) => {}
                }
            }
            if let Some((amount, at_least)) = then {
                state.is_asking = true;
                drop(state);
                if answer.is_ok() {
                    self.ask_database(&cell, amount, at_least);
                } else {
                    self.refuse_all_waiting(&cell);
                }
                continue;
            }
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            for request in waiting {
                self.try_admit(request, senses);
            }
        }
    }

    /// Gives back what `take` takes out of the leases that are `meant`.
    fn give_back_of(&mut self, meant: impl Fn(&Cell) -> bool, take: impl Fn(&mut Lease) -> i64) {
        let mut amounts = Vec::new();
        for (slot, cell) in &self.cells {
            let mut state = cell.state.borrow_mut();
            if !meant(cell) || state.is_asking || self.number.is_none() {
                continue;
            }
            let amount = state.lease.as_mut().map_or(0, &take);
            if amount > 0 {
                state.is_asking = true;
                amounts.push((*slot, amount));
            }
        }
        if !amounts.is_empty() {
            self.give_back(amounts, None);
        }
    }

    pub(super) fn recall(&mut self, budget: BudgetId) {
        self.give_back_of(|cell| cell.slot.id == budget, Lease::take_available);
        self.clear_doubts(|cell| cell.slot.id == budget);
    }

    pub(super) fn budget_changed(&mut self, budget: BudgetId) {
        for cell in self.cells.values().filter(|cell| cell.slot.id == budget) {
            if let Some(lease) = &mut cell.state.borrow_mut().lease {
                lease.budget_changed();
            }
        }
    }

    pub(super) fn lapse_leases(&mut self) {
        for cell in self.cells.values() {
            let mut state = cell.state.borrow_mut();
            state.is_in_doubt = false;
            if let Some(lease) = &mut state.lease {
                lease.lapse();
            }
        }
    }

    pub(super) fn maintain(&mut self, senses: Senses<'_>) {
        self.outputs
            .push(Output::Timer(500 * MILLI, Input::Maintain));
        if is_planted(Fault::ResetForgetsHolds) {
            self.reset_periods(senses.wall);
        }
        self.give_back_of(|_| true, |lease| lease.take_idle(senses.steady));
        self.clear_doubts(|_| true);
        self.cells.retain(|slot, cell| {
            let state = cell.state.borrow();
            let is_past = cell.budget.slot(senses.wall) != *slot;
            let is_unused = state.lease.as_ref().is_none_or(|lease| {
                lease.is_empty() && (is_past || lease.is_forgettable(senses.steady))
            });
            let is_known = Rc::strong_count(cell) > 1 || state.is_in_doubt;
            state.is_asking || is_known || !is_unused
        });
        self.write_down(senses);
    }

    /// A lease in doubt that nothing rests on goes back whole: whatever the database has reserved for it.
    fn clear_doubts(&mut self, meant: impl Fn(&Cell) -> bool) {
        let unsettled = self.settler.spent_of(self.number);
        let mut amounts = Vec::new();
        for (slot, cell) in &self.cells {
            let mut state = cell.state.borrow_mut();
            let is_empty = state.lease.as_ref().is_none_or(Lease::is_empty);
            let is_due = state.is_in_doubt && is_empty && !state.is_asking;
            if is_due && meant(cell) && !unsettled.contains(slot) && self.number.is_some() {
                state.is_asking = true;
                amounts.push((*slot, EVERYTHING));
            }
        }
        if !amounts.is_empty() {
            self.give_back(amounts, None);
        }
    }

    /// The planted fault: a period that ends takes back all of its leases, and what requests hold of them with it.
    fn reset_periods(&mut self, wall: Timestamp) {
        let mut past = BTreeMap::new();
        for (slot, cell) in &self.cells {
            let is_past = cell.budget.slot(wall) != *slot;
            if is_past && !cell.state.borrow().is_asking {
                past.insert(*slot, EVERYTHING);
            }
        }
        if !past.is_empty() {
            self.cells.retain(|slot, _| !past.contains_key(slot));
            self.give_back(past.into_iter().collect(), None);
        }
    }
}
