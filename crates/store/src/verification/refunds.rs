//! Refunds: each gives back a charge, and names the transaction of that.

use std::collections::BTreeMap;

use airouter_billing::Nanos;
use airouter_billing::refund::Refund;
use uuid::Uuid;

use super::event_rows::EventRow;
use super::findings::Findings;
use super::rows::RefundRow;
use crate::ledger::Check;
use crate::shared_texts::PriceTerms;

/// What was given back of each request, and what it was charged.
#[derive(Default)]
pub(super) struct Refunded(BTreeMap<Uuid, (i128, i64)>);

impl Refunded {
    /// Adds a refund of this charge.
    pub(super) fn add(&mut self, refund: &RefundRow, charge: &EventRow<'_>) {
        let of_request = self.0.entry(refund.request);
        let (refunded, charged) = of_request.or_insert((0, charge.charged_nanos));
        *refunded += i128::from(refund.amount_nanos);
        *charged = charge.charged_nanos;
    }

    /// Finds requests of which more was given back than they were charged.
    pub(super) fn check(self, findings: &mut Findings) {
        for (request, (refunded, charged)) in self.0 {
            if refunded > i128::from(charged) {
                let subject = || format!("request {request}, refunded");
                findings.add(Check::Refund, subject, charged.into(), refunded);
            }
        }
    }
}

/// Checks what the transaction of a refund names; `charge` is what it gives back.
pub(super) fn check_refund(
    refund: &RefundRow,
    charge: Option<&EventRow<'_>>,
    findings: &mut Findings,
) {
    let request = refund.request;
    let mut expect = |what: &str, is_so: bool| {
        let subject = || format!("request {request}, {what}");
        findings.compare(Check::Refund, subject, 1, is_so.into());
    };
    expect("refunded, is booked", charge.is_some());
    if let Some(charge) = charge {
        expect(
            "refunded by an entry that names its own",
            refund.corrects == Some(charge.transaction_id),
        );
    }
}

/// The refund to be booked again.
pub(super) fn refund_of(row: &RefundRow, charge: &EventRow<'_>, terms: &PriceTerms) -> Refund {
    Refund {
        payer: charge.payer,
        payment: terms.payment,
        amount: Nanos::new(row.amount_nanos),
        debt_paid: Nanos::new(row.debt_paid_nanos),
    }
}
