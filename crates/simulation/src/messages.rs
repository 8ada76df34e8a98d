//! What replicas, the database and the upstream say to each other.

use airouter_billing::budget::BudgetSlot;
use airouter_billing::correction::Answers;
use airouter_billing::event::{Ending, RequestFacts, Served};
use airouter_billing::lease::Grant;
use airouter_billing::recovery::PendingReason;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{RequestId, Timestamp, UsageEvent};

/// The number of a replica in the database; a new one for each registration.
pub(crate) type ReplicaNumber = i64;

/// A request whose usage is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) request: RequestFacts,
    pub(crate) served: Served,
    pub(crate) reason: PendingReason,
    pub(crate) ending: Ending,
    pub(crate) holds: Vec<BudgetCharge>,
    pub(crate) since: Timestamp,
}

/// What is to be made durable.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// A finished request, and under which number of its replica it was spent.
    Event(Box<UsageEvent>, ReplicaNumber),
    /// A request whose usage is to be found out.
    Open(Box<Pending>),
    /// A request in flight; nobody waits for it.
    Note(Box<Pending>),
    /// A pending request that was not billed.
    Forget(RequestId),
}

impl Job {
    pub(crate) fn request(&self) -> RequestId {
        match self {
            Self::Event(event, _) => event.request.id,
            Self::Open(pending) | Self::Note(pending) => pending.request.id,
            Self::Forget(request) => *request,
        }
    }

    /// Whether it has to survive while the database is away.
    pub(crate) const fn is_spooled(&self) -> bool {
        matches!(self, Self::Event(..) | Self::Open(_))
    }
}

/// A call of a replica to the database: each is one transaction.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Register,
    Renew(ReplicaNumber),
    EndSilent,
    Lease {
        replica: ReplicaNumber,
        slot: BudgetSlot,
        at_least: i64,
        wish: i64,
    },
    GiveBack {
        replica: ReplicaNumber,
        amounts: Vec<(BudgetSlot, i64)>,
    },
    Commit {
        /// Whose leases are charged.
        spender: ReplicaNumber,
        /// Whose the pending requests are.
        owner: ReplicaNumber,
        jobs: Vec<Job>,
        /// What the clients of the jobs know.
        answers: Answers,
    },
    TakeOver {
        replica: ReplicaNumber,
        own: OwnPending,
    },
}

/// Whether a replica asks for what is its own already: it does after an answer that never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnPending {
    Too,
    Not,
}

/// The replica was ended: it is not alive for the database any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fenced;

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Registered(ReplicaNumber),
    Renewed(Result<(), Fenced>),
    Ended(Vec<ReplicaNumber>),
    Leased(Result<Grant, Fenced>),
    GivenBack,
    Committed {
        /// Requests whose loss had been booked before, and stands.
        superseded: Vec<RequestId>,
        /// How many losses were corrected.
        corrected: usize,
    },
    TakenOver {
        taken: Vec<Pending>,
        /// What was the replica's own before.
        own: Vec<Pending>,
    },
}

/// What became of a call that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It was not executed.
    Refused,
    /// Nobody knows whether it was.
    Unknown,
}
