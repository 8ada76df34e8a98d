//! What upstreams say that they billed, compared with what is booked ([`airouter_billing::reconciliation`]).

use airouter_billing::reconciliation::{
    BookedRequest, Finding, Observed, Span, Spend, SumOverflow,
};
use airouter_billing::{MasterAccountId, Timestamp, UtcDay};
use async_trait::async_trait;

use crate::error::StoreError;

/// A day of a master account that was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconciledDay {
    /// What the next day is expected to show.
    pub carried: Spend,
    /// When it was compared last.
    pub reconciled_at: Timestamp,
}

/// A sum that only grows, as an upstream told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamReading {
    /// Of what: the account's credit, or which of its inference keys.
    pub source: String,
    /// What was ever used.
    pub used: Spend,
    /// When that was told.
    pub taken_at: Timestamp,
}

/// Who takes requests one after the other.
pub type TakeRequest<'a> = &'a mut (dyn FnMut(BookedRequest) -> Result<(), SumOverflow> + Send);

/// Comparisons with upstreams.
#[async_trait]
pub trait Reconciliation: Send + Sync + 'static {
    /// Hands over each request of a master account that ran at some time of the span, charged or lost, as its correction
    /// says if there is one; in the order of the upstream's ids, those of one id in the order in which they were booked.
    /// [`StoreError::OutOfRange`] when `take` can't sum them.
    async fn booked_requests(
        &self,
        account: MasterAccountId,
        during: Span,
        take: TakeRequest<'_>,
    ) -> Result<(), StoreError>;

    /// Makes a day the caller's until `until`; `false` when it was compared before, or is another's at `now`.
    async fn claim_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Notes that a day was compared; again, if it was before.
    async fn close_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        closed: &ReconciledDay,
    ) -> Result<(), StoreError>;

    /// What was noted of a day.
    async fn reconciled_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
    ) -> Result<Option<ReconciledDay>, StoreError>;

    /// Makes the entries about a finding say what is observed, as [`airouter_billing::reconciliation::next_entry`] decides,
    /// and posts what is new, in one transaction. However many observe the same at once, it is entered once; `None` when
    /// there was nothing to enter.
    async fn record_finding(
        &self,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<Option<Finding>, StoreError>;

    /// All entries about days from `since` on, in the order in which they were made.
    async fn findings(&self, since: UtcDay) -> Result<Vec<Finding>, StoreError>;

    /// Keeps a reading.
    async fn add_upstream_reading(
        &self,
        account: MasterAccountId,
        reading: &UpstreamReading,
    ) -> Result<(), StoreError>;

    /// The readings of an account since a time, in their order.
    async fn upstream_readings(
        &self,
        account: MasterAccountId,
        since: Timestamp,
    ) -> Result<Vec<UpstreamReading>, StoreError>;
}
