//! What one request holds of each of its budgets: of all or of none, and never lost.

use std::sync::Arc;

use crate::budget::{BudgetRef, BudgetSlot, Quantity};
use crate::fault::{Fault, is_planted};
use crate::lease::{Lease, Spent, Take, Term};
use crate::money::Nanos;
use crate::settlement::BudgetCharge;
use crate::tenure::Tenure;
use crate::time::Timestamp;

/// Where a lease is kept, so that several requests can use it.
pub trait LeaseCell {
    /// Does something with the lease; `None` when the replica has not asked for one yet.
    fn with_lease<T>(&self, act: impl FnOnce(Option<&mut Lease>) -> T) -> T;
}

impl<Cell: LeaseCell> LeaseCell for Arc<Cell> {
    fn with_lease<T>(&self, act: impl FnOnce(Option<&mut Lease>) -> T) -> T {
        self.as_ref().with_lease(act)
    }
}

/// Why a hold could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHold {
    /// The replica's leases have ended, or are about to: renew them, then try again.
    Ended,
    /// This budget does not have as much.
    Exhausted(BudgetRef),
    /// The lease lacks so much; ask for it, then try again.
    Dry {
        /// Which budget.
        budget: BudgetRef,
        /// What the hold needs in all.
        amount: i64,
        /// What is missing.
        shortfall: i64,
    },
}

#[derive(Debug)]
struct Held<Cell> {
    cell: Cell,
    slot: BudgetSlot,
    quantity: Quantity,
    amount: i64,
    term: Term,
}

impl<Cell: LeaseCell> Held<Cell> {
    /// Does something with the lease that this was taken from; `None` when that has lapsed since.
    fn with_own_lease<T>(&self, act: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let term = self.term;
        self.cell
            .with_lease(|lease| lease.filter(|lease| lease.term() == term).map(act))
    }
}

/// The holds of one request. Dropping them gives them back unspent.
#[derive(Debug)]
pub struct Holds<Cell: LeaseCell> {
    held: Vec<Held<Cell>>,
}

impl<Cell: LeaseCell> Holds<Cell> {
    /// Takes `amount` of every money budget and one request of every request budget, of all or of none. A request
    /// without budgets needs the replica's tenure too: a replica that is cut off stops.
    pub fn take(
        tenure: Tenure,
        budgets: impl IntoIterator<Item = (BudgetRef, BudgetSlot, Cell)>,
        amount: Nanos,
        now: Timestamp,
    ) -> Result<Self, NoHold> {
        if !tenure.may_admit(now) {
            return Err(NoHold::Ended);
        }
        let budgets = budgets.into_iter();
        let mut holds = Self {
            held: Vec::with_capacity(budgets.size_hint().0),
        };
        for (budget, slot, cell) in budgets {
            let quantity = budget.quantity;
            let amount = in_unit_of(quantity, amount);
            let (taken, term) = cell.with_lease(|lease| match lease {
                Some(lease) => (lease.take(amount, now), lease.term()),
                None => (Take::Dry { shortfall: amount }, Term::default()),
            });
            match taken {
                Take::Held => holds.held.push(Held {
                    cell,
                    slot,
                    quantity,
                    amount,
                    term,
                }),
                Take::Dry { shortfall } => {
                    holds.give_back(Fault::HoldLostOnRefusal);
                    return Err(NoHold::Dry {
                        budget,
                        amount,
                        shortfall,
                    });
                }
                Take::Refused => {
                    holds.give_back(Fault::HoldLostOnRefusal);
                    return Err(NoHold::Exhausted(budget));
                }
            }
        }
        Ok(holds)
    }

    /// What [`Holds::take`] would say; takes nothing.
    pub fn look(
        tenure: Tenure,
        budgets: impl IntoIterator<Item = (BudgetRef, Cell)>,
        amount: Nanos,
        now: Timestamp,
    ) -> Result<(), NoHold> {
        if !tenure.may_admit(now) {
            return Err(NoHold::Ended);
        }
        for (budget, cell) in budgets {
            let amount = in_unit_of(budget.quantity, amount);
            let look = cell.with_lease(|lease| {
                lease.map_or(Take::Dry { shortfall: amount }, |lease| {
                    lease.look(amount, now)
                })
            });
            match look {
                Take::Held => {}
                Take::Dry { shortfall } => {
                    return Err(NoHold::Dry {
                        budget,
                        amount,
                        shortfall,
                    });
                }
                Take::Refused => return Err(NoHold::Exhausted(budget)),
            }
        }
        Ok(())
    }

    /// What is held, as a pending request stores it.
    pub fn as_charges(&self) -> Vec<BudgetCharge> {
        self.held
            .iter()
            .map(|held| BudgetCharge {
                slot: held.slot,
                quantity: held.quantity,
                from_lease: held.amount,
                excess: 0,
            })
            .collect()
    }

    /// Settles the request at `price`: what it takes from each budget.
    pub fn spend(mut self, price: Nanos) -> Vec<BudgetCharge> {
        std::mem::take(&mut self.held)
            .into_iter()
            .map(|held| {
                if is_planted(Fault::HoldSettledTwice) {
                    held.with_own_lease(|lease| lease.release(held.amount));
                }
                let price = in_unit_of(held.quantity, price);
                let spent = held
                    .with_own_lease(|lease| lease.spend(held.amount, price))
                    .unwrap_or(Spent {
                        from_lease: 0,
                        excess: price,
                    });
                BudgetCharge {
                    slot: held.slot,
                    quantity: held.quantity,
                    from_lease: spent.from_lease,
                    excess: spent.excess,
                }
            })
            .collect()
    }

    fn give_back(&mut self, lost_by: Fault) {
        for held in self.held.drain(..) {
            if !is_planted(lost_by) {
                held.with_own_lease(|lease| lease.release(held.amount));
            }
        }
    }
}

impl<Cell: LeaseCell> Drop for Holds<Cell> {
    fn drop(&mut self) {
        self.give_back(Fault::HoldLostOnDisconnect);
    }
}

/// A request counts one in a budget of requests, whatever it costs.
const fn in_unit_of(quantity: Quantity, amount: Nanos) -> i64 {
    match quantity {
        Quantity::Nanos => amount.get(),
        Quantity::Requests => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use uuid::Uuid;

    use super::*;
    use crate::budget::BudgetId;
    use crate::lease::Grant;
    use crate::period::Period;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    const TENURE: Tenure = Tenure::since(NOW);

    impl LeaseCell for &RefCell<Option<Lease>> {
        fn with_lease<T>(&self, act: impl FnOnce(Option<&mut Lease>) -> T) -> T {
            act(self.borrow_mut().as_mut())
        }
    }

    fn budget(id: u128, quantity: Quantity) -> BudgetRef {
        BudgetRef {
            id: BudgetId::Cap(Uuid::from_u128(id)),
            quantity,
            period: Period::Day,
        }
    }

    fn leased(amount: i64) -> RefCell<Option<Lease>> {
        let mut lease = Lease::open(0, NOW);
        lease.granted_more(Grant { amount, free: 0 }, amount, amount, NOW);
        RefCell::new(Some(lease))
    }

    fn held(cell: &RefCell<Option<Lease>>) -> i64 {
        cell.borrow().as_ref().map_or(0, Lease::held)
    }

    #[test]
    fn a_refusal_by_one_budget_leaves_nothing_held_of_the_others() {
        let (rich, poor) = (leased(100), leased(10));
        let (first, second) = (budget(1, Quantity::Nanos), budget(2, Quantity::Nanos));
        let wanted = [
            (first, first.slot(NOW), &rich),
            (second, second.slot(NOW), &poor),
        ];
        let refused = Holds::take(TENURE, wanted, Nanos::new(50), NOW);
        let dry = NoHold::Dry {
            budget: second,
            amount: 50,
            shortfall: 40,
        };
        assert_eq!(refused.err(), Some(dry));
        assert_eq!((held(&rich), held(&poor)), (0, 0));
    }

    #[test]
    fn a_look_says_what_taking_would_and_takes_nothing() {
        for (amount, refusal) in [(50, None), (51, Some(1))] {
            let (rich, poor) = (leased(100), leased(50));
            let (first, second) = (budget(1, Quantity::Nanos), budget(2, Quantity::Nanos));
            let seen = [(first, &rich), (second, &poor)];
            let look = Holds::look(TENURE, seen, Nanos::new(amount), NOW).err();
            assert_eq!((held(&rich), held(&poor)), (0, 0));
            let wanted = [
                (first, first.slot(NOW), &rich),
                (second, second.slot(NOW), &poor),
            ];
            let taken = Holds::take(TENURE, wanted, Nanos::new(amount), NOW);
            assert_eq!(look, taken.err());
            let dry = refusal.map(|shortfall| NoHold::Dry {
                budget: second,
                amount,
                shortfall,
            });
            assert_eq!(look, dry);
        }
    }

    #[test]
    fn a_request_counts_one_whatever_it_costs() {
        let (money, requests) = (leased(100), leased(2));
        let (first, second) = (budget(1, Quantity::Nanos), budget(2, Quantity::Requests));
        let wanted = [
            (first, first.slot(NOW), &money),
            (second, second.slot(NOW), &requests),
        ];
        let holds = Holds::take(TENURE, wanted, Nanos::new(50), NOW).unwrap();
        assert_eq!((held(&money), held(&requests)), (50, 1));
        let spent: Vec<_> = holds
            .spend(Nanos::new(70))
            .iter()
            .map(|charge| (charge.from_lease, charge.excess))
            .collect();
        assert_eq!(spent, [(70, 0), (1, 0)]);
        assert_eq!((held(&money), held(&requests)), (0, 0));
    }

    #[test]
    fn a_replica_that_was_not_renewed_admits_nothing_also_without_budgets() {
        let late = NOW.plus_seconds(crate::tenure::LEASE_SECONDS);
        let none: [(BudgetRef, BudgetSlot, &RefCell<Option<Lease>>); 0] = [];
        assert!(Holds::take(TENURE, none, Nanos::new(50), NOW).is_ok());
        let refused = Holds::take(TENURE, none, Nanos::new(50), late);
        assert_eq!(refused.err(), Some(NoHold::Ended));
    }

    #[test]
    fn a_lease_that_was_taken_away_pays_for_nothing() {
        let cell = leased(100);
        let budget = budget(1, Quantity::Nanos);
        let wanted = [(budget, budget.slot(NOW), &cell)];
        let holds = Holds::take(TENURE, wanted, Nanos::new(50), NOW).unwrap();
        cell.borrow_mut().as_mut().unwrap().lapse();
        let spent = holds.spend(Nanos::new(50));
        assert_eq!((spent[0].from_lease, spent[0].excess), (0, 50));
    }

    #[test]
    fn a_hold_on_a_lapsed_lease_frees_nothing_of_the_lease_that_came_after() {
        let cell = leased(100);
        let budget = budget(1, Quantity::Nanos);
        let take = |amount| {
            let wanted = [(budget, budget.slot(NOW), &cell)];
            Holds::take(TENURE, wanted, Nanos::new(amount), NOW)
        };
        let (dropped, spent) = (take(50).unwrap(), take(50).unwrap());
        let grant = Grant {
            amount: 60,
            free: 0,
        };
        {
            let mut lease = cell.borrow_mut();
            let lease = lease.as_mut().unwrap();
            lease.lapse();
            lease.granted_more(grant, 60, 60, NOW);
        }
        let later = take(60).unwrap();
        drop(dropped);
        assert_eq!(spent.spend(Nanos::new(50))[0].excess, 50);
        let available = cell.borrow().as_ref().map(Lease::available);
        assert_eq!((held(&cell), available), (60, Some(0)));
        drop(later);
    }
}
