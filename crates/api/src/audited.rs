//! Entries of the audit log.

use airouter_billing::Timestamp;
use airouter_store::audit::AuditEntry;
use uuid::Uuid;

use crate::caller::{ClientAddress, Operator};
use crate::problem::Problem;

const LONGEST_REASON: usize = 500;

/// What the operator does to something.
pub(crate) fn entry(
    operator: &Operator,
    ClientAddress(address): ClientAddress,
    action: &str,
    subject: Uuid,
    at: Timestamp,
) -> AuditEntry {
    AuditEntry {
        actor: operator.actor.clone(),
        actor_id: Some(operator.user),
        address: Some(address.to_string()),
        action: action.to_owned(),
        subject,
        reason: None,
        before: None,
        after: None,
        at,
    }
}

/// A reason: one line.
pub(crate) fn reason(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let is_reason =
        !text.is_empty() && text.len() <= LONGEST_REASON && !text.contains(char::is_control);
    is_reason.then(|| text.to_owned()).ok_or(Problem::Invalid {
        field: "reason",
        expected: "one line of at most 500 bytes",
    })
}
