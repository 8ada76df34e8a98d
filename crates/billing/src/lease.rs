//! Leases: the part of a budget that one replica may spend without asking.
//!
//! A [`Lease`] is what the replica knows of its part; it is a state machine without a clock. The database's side of it
//! is [`grant`]; how long both may be relied on is [`crate::tenure`].

use crate::time::Timestamp;

/// A lease that was not used for so long goes back.
pub const IDLE_MICROS: u64 = 2_000_000;
/// A refusal is remembered for so long, so that a broke client can't keep the database busy.
pub const REFUSAL_MICROS: u64 = 1_000_000;
/// How many holds of the present size a busy lease reaches for at once.
const WISHED_HOLDS: i64 = 32;

/// What the database answered to a request for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was added to the lease; 0 when the budget does not have what was needed.
    pub amount: i64,
    /// What remains free in the budget.
    pub free: i64,
}

/// How much of a budget with `free` left a replica gets that needs `at_least` now and would like `wish`: all or nothing
/// of what it needs, and of the rest at most a quarter, so that a small budget is not locked up in one replica.
pub fn grant(free: i64, at_least: i64, wish: i64) -> Grant {
    let free = free.max(0);
    let at_least = at_least.max(0);
    if at_least > free {
        return Grant { amount: 0, free };
    }
    let spare = free - at_least;
    let extra = wish.saturating_sub(at_least).clamp(0, spare / 4);
    Grant {
        amount: at_least + extra,
        free: spare - extra,
    }
}

/// What became of an attempt to take a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The amount is held.
    Held,
    /// The lease lacks `shortfall`: ask for more, then try again.
    Dry {
        /// What is missing.
        shortfall: i64,
    },
    /// The budget was asked a moment ago and did not have as much.
    Refused,
}

/// How a price is covered by the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Paid out of what the lease had reserved.
    pub from_lease: i64,
    /// What the lease could not cover: charged as far as the budget has it free, else lost.
    pub excess: i64,
}

/// A replica's part of one budget in one period.
#[derive(Clone, Debug)]
pub struct Lease {
    granted: i64,
    held: i64,
    free_elsewhere: i64,
    recallable: i64,
    last_used: Timestamp,
    last_hold: i64,
    refusal: Option<Refusal>,
    standing: Standing,
    term: Term,
}

/// Which of the lives of a lease: a lapse ends one and begins the next. A hold belongs to the term in which it was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term(u64);

/// Whether what the lease has left may be used without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// The budget was changed by somebody else: what is left goes back first, and is asked for anew.
    BudgetChanged,
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    at_least: i64,
    at: Timestamp,
}

impl Lease {
    /// A lease with nothing in it yet, of a budget in which `free` is left.
    pub fn open(free: i64, now: Timestamp) -> Self {
        Self {
            granted: 0,
            held: 0,
            free_elsewhere: free.max(0),
            recallable: 0,
            last_used: now,
            last_hold: 0,
            refusal: None,
            standing: Standing::Good,
            term: Term::default(),
        }
    }

    /// The term that holds are taken in now.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// What the replica may still hold without asking.
    pub const fn available(&self) -> i64 {
        self.granted.saturating_sub(self.held)
    }

    /// What is reserved in the database for this lease.
    pub const fn granted(&self) -> i64 {
        self.granted
    }

    /// What requests in flight hold.
    pub const fn held(&self) -> i64 {
        self.held
    }

    /// What is free as far as this replica knows: its own and, when it last asked, elsewhere; and what other replicas may
    /// give back, unless they were asked a moment ago and did not.
    pub const fn free(&self) -> i64 {
        self.available()
            .saturating_add(self.free_elsewhere)
            .saturating_add(self.recallable)
    }

    /// Whether the budget refused as much as `amount` a moment ago.
    pub fn is_refused(&self, amount: i64, now: Timestamp) -> bool {
        self.refusal.is_some_and(|refusal| {
            amount >= refusal.at_least && now.micros_since(refusal.at) < REFUSAL_MICROS
        })
    }

    /// Takes a hold.
    pub fn take(&mut self, amount: i64, now: Timestamp) -> Take {
        let look = self.look(amount, now);
        if look == Take::Held {
            self.held = self.held.saturating_add(amount);
            self.last_used = now;
            self.last_hold = amount;
        }
        look
    }

    /// What [`Lease::take`] would say; takes nothing.
    pub fn look(&self, amount: i64, now: Timestamp) -> Take {
        let shortfall = self.shortfall(amount);
        if shortfall <= 0 {
            Take::Held
        } else if self.is_refused(amount, now) {
            Take::Refused
        } else {
            Take::Dry { shortfall }
        }
    }

    /// What a hold of `amount` lacks.
    pub fn shortfall(&self, amount: i64) -> i64 {
        match self.standing {
            Standing::Good => amount.saturating_sub(self.available()).max(0),
            Standing::BudgetChanged => amount,
        }
    }

    /// What must go back before more is asked for. What is asked for from now on is of the budget as it is now: only a
    /// change that comes later makes it stale again.
    pub fn take_stale(&mut self) -> i64 {
        match self.standing {
            Standing::Good => 0,
            Standing::BudgetChanged => {
                self.standing = Standing::Good;
                self.take_available()
            }
        }
    }

    /// What to ask for beyond `shortfall`.
    pub const fn wish(&self, shortfall: i64) -> i64 {
        let hold = if self.last_hold > shortfall {
            self.last_hold
        } else {
            shortfall
        };
        hold.saturating_mul(WISHED_HOLDS)
    }

    /// The database's answer to a request for `at_least`, which a hold of `amount` needed.
    pub fn granted_more(&mut self, grant: Grant, amount: i64, at_least: i64, now: Timestamp) {
        self.granted = self.granted.saturating_add(grant.amount);
        self.free_elsewhere = grant.free;
        self.last_used = now;
        let refused = at_least > 0 && grant.amount < at_least;
        self.refusal = refused.then_some(Refusal {
            at_least: amount,
            at: now,
        });
    }

    /// What other replicas had leased of the budget at the last answer. After a refusal none of it counts: they were asked
    /// for what they don't use, and it was not enough.
    pub fn leased_elsewhere(&mut self, amount: i64) {
        self.recallable = if self.refusal.is_some() {
            0
        } else {
            amount.max(0)
        };
    }

    /// Gives a hold back unspent.
    pub fn release(&mut self, hold: i64) {
        self.held = self.held.saturating_sub(hold);
        self.refusal = None;
    }

    /// Settles a hold at `price`. What the price leaves of the hold may be held again; what it exceeds the hold by
    /// comes out of the rest of the lease, then out of the budget.
    pub fn spend(&mut self, hold: i64, price: i64) -> Spent {
        self.held = self.held.saturating_sub(hold);
        let from_lease = price.min(self.available()).max(0);
        self.granted = self.granted.saturating_sub(from_lease);
        if price < hold {
            self.refusal = None;
        }
        Spent {
            from_lease,
            excess: price.saturating_sub(from_lease),
        }
    }

    /// Takes out what was not used for [`IDLE_MICROS`], to be given back to the budget.
    pub fn take_idle(&mut self, now: Timestamp) -> i64 {
        if now.micros_since(self.last_used) < IDLE_MICROS {
            0
        } else {
            self.take_available()
        }
    }

    /// Takes out everything that no request holds: another replica or a debit needs it.
    pub fn take_available(&mut self) -> i64 {
        let surplus = self.available().max(0);
        self.granted = self.granted.saturating_sub(surplus);
        self.free_elsewhere = self.free_elsewhere.saturating_add(surplus);
        surplus
    }

    /// What was taken out could not be given back: the lease keeps it.
    pub fn not_given_back(&mut self, amount: i64) {
        self.granted = self.granted.saturating_add(amount);
        self.free_elsewhere = self.free_elsewhere.saturating_sub(amount).max(0);
    }

    /// The database has given the lease back to its budget: the replica was silent for too long. What requests still
    /// hold of it is covered by nothing any more, and is not released or spent here: it belongs to an earlier term.
    pub fn lapse(&mut self) {
        self.term = Term(self.term.0.wrapping_add(1));
        self.granted = 0;
        self.held = 0;
        self.standing = Standing::Good;
        self.refusal = None;
    }

    /// Somebody else changed the budget (a credit, a debit, another limit): what was refused may be granted now, and what is
    /// left, or comes free of holds, is not spent without asking.
    pub fn budget_changed(&mut self) {
        self.standing = Standing::BudgetChanged;
        self.refusal = None;
    }

    /// Whether what it knows is so old that it is better asked for again.
    pub fn is_forgettable(&self, now: Timestamp) -> bool {
        now.micros_since(self.last_used) > 10 * IDLE_MICROS
    }

    /// Whether nothing is held and nothing reserved.
    pub const fn is_empty(&self) -> bool {
        self.held == 0 && self.granted == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn lease(granted: i64, free: i64) -> Lease {
        let mut lease = Lease::open(free, NOW);
        lease.granted_more(
            Grant {
                amount: granted,
                free,
            },
            granted,
            granted,
            NOW,
        );
        lease
    }

    #[test]
    fn a_grant_is_all_or_nothing_of_what_is_needed() {
        assert_eq!(
            grant(100, 101, 1_000),
            Grant {
                amount: 0,
                free: 100
            }
        );
        assert_eq!(
            grant(100, 100, 1_000),
            Grant {
                amount: 100,
                free: 0
            }
        );
        assert_eq!(
            grant(100, 20, 1_000),
            Grant {
                amount: 40,
                free: 60
            }
        );
        assert_eq!(grant(-5, 0, 10), Grant { amount: 0, free: 0 });
    }

    #[test]
    fn a_price_above_its_hold_comes_out_of_the_lease_and_then_out_of_the_budget() {
        let mut lease = lease(100, 0);
        assert_eq!(lease.take(40, NOW), Take::Held);
        assert_eq!(lease.take(40, NOW), Take::Held);
        assert_eq!(
            lease.spend(40, 70),
            Spent {
                from_lease: 60,
                excess: 10
            }
        );
        assert_eq!((lease.granted(), lease.held()), (40, 40));
    }

    #[test]
    fn a_refusal_is_remembered_for_holds_as_large_until_budget_returns() {
        let mut lease = lease(10, 0);
        assert_eq!(lease.take(50, NOW), Take::Dry { shortfall: 40 });
        lease.granted_more(
            Grant {
                amount: 0,
                free: 30,
            },
            50,
            40,
            NOW,
        );
        assert_eq!(lease.take(50, NOW), Take::Refused);
        assert_eq!(lease.take(49, NOW), Take::Dry { shortfall: 39 });
        assert_eq!(lease.take(10, NOW), Take::Held);
        lease.release(10);
        assert_eq!(lease.take(50, NOW), Take::Dry { shortfall: 40 });
    }

    #[test]
    fn after_a_debit_what_comes_free_of_holds_is_not_spent_without_asking() {
        let mut lease = lease(100, 0);
        assert_eq!(lease.take(60, NOW), Take::Held);
        lease.budget_changed();
        assert_eq!(lease.take(10, NOW), Take::Dry { shortfall: 10 });
        lease.release(60);
        assert_eq!(lease.take(10, NOW), Take::Dry { shortfall: 10 });
        assert_eq!(lease.take_stale(), 100);
        lease.granted_more(Grant { amount: 0, free: 0 }, 10, 10, NOW);
        assert_eq!(lease.take(10, NOW), Take::Refused);
    }

    #[test]
    fn a_change_that_comes_before_the_answer_is_not_forgotten() {
        let mut lease = lease(10, 90);
        lease.budget_changed();
        assert_eq!(lease.take_stale(), 10);
        lease.budget_changed();
        let grant = Grant {
            amount: 50,
            free: 0,
        };
        lease.granted_more(grant, 50, 50, NOW);
        assert_eq!(lease.take(50, NOW), Take::Dry { shortfall: 50 });
        assert_eq!(lease.take_stale(), 50);
    }

    #[test]
    fn what_others_have_counts_as_free_until_they_did_not_give_it_back() {
        let mut lease = lease(10, 5);
        lease.leased_elsewhere(100);
        assert_eq!(lease.free(), 115);
        lease.granted_more(Grant { amount: 0, free: 5 }, 50, 40, NOW);
        lease.leased_elsewhere(100);
        assert_eq!(lease.free(), 15);
    }

    #[test]
    fn an_idle_lease_goes_back() {
        let mut lease = lease(100, 0);
        assert_eq!(lease.take(30, NOW), Take::Held);
        assert_eq!(lease.take_idle(NOW.plus_seconds(1)), 0);
        assert_eq!(lease.take_idle(NOW.plus_seconds(2)), 70);
        assert_eq!((lease.available(), lease.free()), (0, 70));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(i64),
        Spend(i64),
        Release,
        More(i64, i64),
        Return,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_i64..200).prop_map(Step::Take),
            (0_i64..400).prop_map(Step::Spend),
            Just(Step::Release),
            (0_i64..300, 0_i64..300).prop_map(|(at_least, wish)| Step::More(at_least, wish)),
            Just(Step::Return),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: budget = spent + reserved + free, and no more is spent than there was.
        #[test]
        fn nothing_is_created_or_lost(total in 0_i64..2_000, steps in prop::collection::vec(step(), 0..200)) {
            let mut lease = Lease::open(total, NOW);
            let (mut free, mut reserved, mut spent) = (total, 0, 0);
            let mut holds = Vec::new();
            for step in steps {
                match step {
                    Step::Take(amount) => if lease.take(amount, NOW) == Take::Held { holds.push(amount) },
                    Step::Release => if let Some(hold) = holds.pop() { lease.release(hold) },
                    Step::Spend(price) => if let Some(hold) = holds.pop() {
                        let part = lease.spend(hold, price);
                        let charged = part.from_lease + part.excess.min(free);
                        free -= charged - part.from_lease;
                        reserved -= part.from_lease;
                        spent += charged;
                    },
                    Step::More(at_least, wish) => {
                        let answer = grant(free, at_least, wish);
                        free -= answer.amount;
                        reserved += answer.amount;
                        prop_assert_eq!(free, answer.free);
                        lease.granted_more(answer, at_least, at_least, NOW);
                    }
                    Step::Return => {
                        let surplus = lease.take_available();
                        reserved -= surplus;
                        free += surplus;
                    }
                }
                prop_assert_eq!(lease.granted(), reserved);
                prop_assert_eq!(free + reserved + spent, total);
                prop_assert!(spent <= total && free >= 0 && reserved >= 0);
                prop_assert!(lease.held() >= 0 && lease.held() <= lease.granted());
            }
        }
    }
}
