//! What a client gets back of a request: never more than it was charged, however often it is asked for.

use crate::event::Payment;
use crate::fault::{Fault, is_planted};
use crate::ids::AccountId;
use crate::money::Nanos;
use crate::posting::{LedgerAccount, Standing};

/// What a client paid for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Who paid.
    pub payer: AccountId,
    /// How.
    pub payment: Payment,
    /// How much.
    pub charged: Nanos,
    /// What was given back of it so far.
    pub refunded: Nanos,
}

/// A refund of nothing, or of more than is left of the charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("of this request at most {left} can still be refunded")]
pub struct RefundTooLarge {
    /// What was charged and not refunded yet.
    pub left: Nanos,
}

/// What is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refund {
    /// To whom.
    pub payer: AccountId,
    /// How the request was paid: into a balance, or off what is owed.
    pub payment: Payment,
    /// How much.
    pub amount: Nanos,
    /// What of the balance then pays what a prepaid account owes.
    pub debt_paid: Nanos,
}

impl Charge {
    /// What can still be refunded.
    pub fn left(&self) -> Nanos {
        self.charged.saturating_sub(self.refunded).max(Nanos::ZERO)
    }

    /// Gives back `amount`; what a prepaid account owes is paid first, as by a credit. Budgets of a time stay as they were
    /// charged: money comes back, a month's limit does not.
    pub fn refund(&self, amount: Nanos, standing: Standing) -> Result<Refund, RefundTooLarge> {
        let left = self.left();
        let is_too_large = amount > left && !is_planted(Fault::RefundAboveCharge);
        if amount <= Nanos::ZERO || is_too_large {
            return Err(RefundTooLarge { left });
        }
        let free = standing.free.max(Nanos::ZERO).saturating_add(amount);
        Ok(Refund {
            payer: self.payer,
            payment: self.payment,
            amount,
            debt_paid: match self.payment {
                Payment::Prepaid => standing.owed.max(Nanos::ZERO).min(free),
                Payment::Metered => Nanos::ZERO,
            },
        })
    }
}

impl Refund {
    /// The client's account in the ledger.
    pub(crate) const fn client(&self) -> LedgerAccount {
        match self.payment {
            Payment::Prepaid => LedgerAccount::ClientBalance(self.payer),
            Payment::Metered => LedgerAccount::Receivable(self.payer),
        }
    }

    /// What the balance grows by; nothing where the account has none.
    pub fn added_to_balance(&self) -> Nanos {
        match self.payment {
            Payment::Prepaid => self.amount.saturating_sub(self.debt_paid),
            Payment::Metered => Nanos::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::posting::Transaction;

    fn charge(payment: Payment, charged: i64, refunded: i64) -> Charge {
        Charge {
            payer: AccountId::new(Uuid::from_u128(1)),
            payment,
            charged: Nanos::new(charged),
            refunded: Nanos::new(refunded),
        }
    }

    fn standing(free: i64, owed: i64) -> Standing {
        Standing {
            free: Nanos::new(free),
            owed: Nanos::new(owed),
        }
    }

    /// Balance, receivable and revenue.
    fn posted(refund: &Refund) -> (i64, i64, i64) {
        let mut transaction = Transaction::default();
        transaction.refund(refund);
        let postings = transaction.into_postings().unwrap();
        let of = |wanted| {
            let posting = postings.iter().find(|posting| posting.account == wanted);
            posting.map_or(0, |posting| posting.amount.get())
        };
        let payer = refund.payer;
        (
            of(LedgerAccount::ClientBalance(payer)),
            of(LedgerAccount::Receivable(payer)),
            of(LedgerAccount::Revenue),
        )
    }

    #[test]
    fn no_more_is_refunded_than_was_charged() {
        let charge = charge(Payment::Prepaid, 100, 60);
        let refund = charge.refund(Nanos::new(40), standing(0, 0)).unwrap();
        assert_eq!(posted(&refund), (-40, 0, 40));
        let left = Nanos::new(40);
        for amount in [41, 0, -1] {
            let refused = charge.refund(Nanos::new(amount), standing(0, 0));
            assert_eq!(refused, Err(RefundTooLarge { left }));
        }
    }

    #[test]
    fn what_is_owed_is_paid_first() {
        let refund = |payment, free, owed| {
            let refund = charge(payment, 100, 0).refund(Nanos::new(100), standing(free, owed));
            posted(&refund.unwrap())
        };
        assert_eq!(refund(Payment::Prepaid, 0, 30), (-70, -30, 100));
        assert_eq!(refund(Payment::Prepaid, 20, 150), (20, -120, 100));
        // What a metered account owes is what it pays by.
        assert_eq!(refund(Payment::Metered, 0, 100), (0, -100, 100));
    }

    proptest! {
        #[test]
        fn a_series_of_refunds_stays_within_the_charge(
            charged in 0_i64..1_000,
            wishes in prop::collection::vec((-10_i64..1_000, 0_i64..100, 0_i64..100), 0..20),
        ) {
            let mut charge = charge(Payment::Prepaid, charged, 0);
            for (amount, free, owed) in wishes {
                if let Ok(refund) = charge.refund(Nanos::new(amount), standing(free, owed)) {
                    charge.refunded = charge.refunded.saturating_add(refund.amount);
                    let (balance, receivable, revenue) = posted(&refund);
                    prop_assert_eq!(balance + receivable + revenue, 0);
                    prop_assert_eq!(-balance, refund.added_to_balance().get());
                    prop_assert!(refund.debt_paid.get() <= owed);
                }
                prop_assert!(charge.refunded.get() <= charged);
            }
        }
    }
}
