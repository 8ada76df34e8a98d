//! What can be seen in a run: a simulation in which something never happens proves nothing of it.

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// A request took its hold.
    Admitted,
    /// A request was refused: its budgets don't have as much.
    NoMoney,
    /// A request was refused: there was no lease to be had.
    NoLease,
    /// A request was refused: every attempt failed.
    NoUpstream,
    /// A request was booked, and its client pays.
    Charged,
    /// A request was booked as a loss.
    Lost,
    /// A price was not covered whole.
    Uncollected,
    /// A period ended between the admission of a request and its end.
    PeriodEndedMeanwhile,
    /// A replica crashed.
    Crash,
    /// A crash hid a bill: the request was younger than a second.
    CutYoung,
    /// A crash hid a bill: the replica was cut off from the database.
    CutWhileAway,
    /// An event went to the disk.
    Spooled,
    /// A replica started with something on its disk.
    LateSpool,
    /// Replicas were asked to give leases back.
    Recall,
    /// A message, or its answer, was lost.
    LostMessage,
    /// A message to the database arrived twice.
    DoubledMessage,
    /// Replicas were ended because they were silent.
    SilentReplica,
    /// A replica learned that it had been ended.
    Fenced,
    /// Pending requests of ended replicas were taken over.
    TakenOver,
    /// A charge came after its loss had been booked.
    Superseded,
    /// A loss was taken back, because the end had been sent.
    Corrected,
    /// Something was refunded.
    Refund,
    /// A refund was refused.
    NoRefund,
}

impl Sight {
    /// Everything that can be seen.
    pub const ALL: [Self; 23] = [
        Self::Admitted,
        Self::NoMoney,
        Self::NoLease,
        Self::NoUpstream,
        Self::Charged,
        Self::Lost,
        Self::Uncollected,
        Self::PeriodEndedMeanwhile,
        Self::Crash,
        Self::CutYoung,
        Self::CutWhileAway,
        Self::Spooled,
        Self::LateSpool,
        Self::Recall,
        Self::LostMessage,
        Self::DoubledMessage,
        Self::SilentReplica,
        Self::Fenced,
        Self::TakenOver,
        Self::Superseded,
        Self::Corrected,
        Self::Refund,
        Self::NoRefund,
    ];
}
