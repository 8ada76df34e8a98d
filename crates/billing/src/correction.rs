//! A request that is booked as a loss and is charged after all.
//!
//! While the database is away, the ends of answers are sent on the strength of the local disk. A replica that stays away
//! with such a record is taken for dead, and another one books what it left open as a loss. When the record lands, the
//! loss is corrected: it stays as it is, and a new entry names it, takes it back, and charges the client.

use std::collections::HashMap;

use crate::event::{LossReason, Outcome, UsageEvent};
use crate::ids::{MasterAccountId, RequestId, TransactionId};
use crate::money::Nanos;
use crate::recovery::PendingReason;

/// What clients know of the answers whose usage is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// Their ends are sent after this commit, if it says so: of a charge and a loss the first stands.
    #[default]
    Waiting,
    /// Their ends were sent already, on the strength of a record on a disk: they are billed.
    Acknowledged,
}

/// A loss as it is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookedLoss {
    /// The entry of the ledger.
    pub transaction: TransactionId,
    /// Why.
    pub reason: LossReason,
    /// What serving the request cost, as far as it was known.
    pub cost: Nanos,
    /// Which master account served.
    pub master_account: MasterAccountId,
}

/// How a request is booked already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booked {
    /// The client pays.
    Charged,
    /// The client pays nothing.
    Lost(BookedLoss),
    /// The client pays nothing so far; because it has had the end of its answer, the usage is asked for again
    /// ([`Opening::Opens`]).
    Reopened(BookedLoss),
    /// As a loss, and then by a correction: the client pays.
    Corrected,
}

/// How requests are booked already; those that are not booked are not in it.
pub type BookedRequests = HashMap<RequestId, Booked>;

impl LossReason {
    /// Whether a loss for this reason may be one that another replica booked while the client had its answer. A request
    /// that is taken over is a crash's, or unknown where the upstream can't say. A failed attempt is booked under an id of
    /// its own, and what is not collected is a part of a charge: neither stands in place of a charge.
    pub const fn is_corrigible(self) -> bool {
        match self {
            Self::Crash | Self::Unknown => true,
            Self::FailedAttempt | Self::Uncollected => false,
        }
    }
}

/// What is to be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its request is not booked yet.
    Books,
    /// It takes this loss back, and its client pays.
    Corrects(BookedLoss),
    /// The loss stands, and the client must not be told that its answer is whole.
    Superseded,
    /// It was booked before.
    Known,
}

/// What is to be done with `event`, whose request is booked so already.
pub(crate) fn judge(event: &UsageEvent, answers: Answers, booked: Option<&Booked>) -> Verdict {
    let (loss, answers) = match booked {
        None => return Verdict::Books,
        Some(Booked::Charged | Booked::Corrected) => return Verdict::Known,
        Some(Booked::Lost(loss)) => (loss, answers),
        Some(Booked::Reopened(loss)) => (loss, Answers::Acknowledged),
    };
    match (event.outcome, answers) {
        (Outcome::Lost(_), _) => Verdict::Known,
        (Outcome::Charged, Answers::Acknowledged) if loss.reason.is_corrigible() => {
            Verdict::Corrects(*loss)
        }
        (Outcome::Charged, _) => Verdict::Superseded,
    }
}

/// What is to be done with a pending request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Its usage is to be found out.
    Opens,
    /// It is booked: there is nothing to find out.
    Settled,
    /// It is booked as a loss, and the client must not be told that its answer is whole.
    Superseded,
}

/// What is to be done with a pending request that is booked so already. A client that has had an answer whose usage did
/// not come is billed too: what is booked as a loss is asked for again then.
pub fn opening(reason: PendingReason, answers: Answers, booked: Option<&Booked>) -> Opening {
    let loss = match booked {
        None => return Opening::Opens,
        Some(Booked::Charged | Booked::Corrected) => return Opening::Settled,
        Some(Booked::Lost(loss) | Booked::Reopened(loss)) => loss,
    };
    match (reason, answers) {
        (PendingReason::InFlight | PendingReason::FailedAttempt, _) => Opening::Settled,
        (PendingReason::UsageUnknown, Answers::Acknowledged) if loss.reason.is_corrigible() => {
            Opening::Opens
        }
        (PendingReason::UsageUnknown, _) => Opening::Superseded,
    }
}

/// Whether an event settles a request that is pending for this reason. A loss that was found out after a crash knows
/// nothing of an answer that ended all the same: the usage of that is still asked for, and corrects the loss.
pub const fn closes(outcome: Outcome, reason: PendingReason) -> bool {
    !matches!(
        (outcome, reason),
        (
            Outcome::Lost(LossReason::Crash),
            PendingReason::UsageUnknown
        )
    )
}

/// Whether what is known now of a pending request replaces what was known: that it is in flight says nothing new of one
/// that has ended, and comes late.
pub const fn replaces(now: PendingReason, known: PendingReason) -> bool {
    !matches!(
        (now, known),
        (
            PendingReason::InFlight,
            PendingReason::UsageUnknown | PendingReason::FailedAttempt
        )
    )
}
