//! Corrections: each is a charge in place of a loss, and names the transaction of that.

use airouter_billing::Nanos;
use airouter_billing::correction::BookedLoss;
use airouter_billing::event::LossReason;
use airouter_billing::ids::TransactionId;
use uuid::Uuid;

use super::event_rows::{self, EventRow};
use super::findings::Findings;
use super::rows::CorrectionRow;
use crate::error::StoreError;
use crate::ledger::Check;
use crate::shared_texts::PriceTerms;

/// The loss that a usage event is, if it is one that may be corrected.
pub(super) fn corrected_loss(row: &EventRow<'_>, terms: &PriceTerms) -> Option<BookedLoss> {
    let reason = LossReason::from_name(row.loss_reason?)?;
    reason.is_corrigible().then_some(BookedLoss {
        transaction: TransactionId::new(row.transaction_id),
        reason,
        cost: Nanos::new(row.cost_nanos),
        master_account: terms.master_account,
    })
}

/// The request of a correction, as its id is written everywhere.
pub(super) fn name(row: &EventRow<'_>) -> String {
    Uuid::try_parse(row.row).map_or_else(|_| row.row.to_owned(), |id| id.to_string())
}

/// Checks what a correction says of the event that it corrects. `row` is the correction.
pub(super) fn check_correction(
    correction: &CorrectionRow,
    row: &EventRow<'_>,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let request = name(row);
    let mut expect = |what: &str, is_so: bool| {
        let subject = || format!("request {request}, {what}");
        findings.compare(Check::Correction, subject, 1, is_so.into());
    };
    expect("corrected by a charge", row.loss_reason.is_none());
    let Some(corrected) = &correction.corrected else {
        expect("corrected, is booked before", false);
        return Ok(());
    };
    let corrected = event_rows::row(corrected, "request_logs")?;
    let reason = corrected.loss_reason.and_then(LossReason::from_name);
    expect(
        "corrected, was such a loss",
        reason.is_some_and(LossReason::is_corrigible),
    );
    expect("corrected for its own payer", corrected.payer == row.payer);
    expect(
        "corrected by an entry that names its own",
        correction.corrects == Some(corrected.transaction_id),
    );
    Ok(())
}
