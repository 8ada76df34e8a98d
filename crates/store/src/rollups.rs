//! Sums of requests that are kept, so that reports need not read every request.
//!
//! They are made off the way of requests, by whoever gets to it first, and say themselves how far they go: what was
//! committed since is added to a report from the requests themselves. What a request adds to them is written down once, in
//! the database's view `usage_added`; whatever else is to count in reports one day (refunds) is another branch of it.

use async_trait::async_trait;

use crate::error::StoreError;

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// There is more.
    More,
    /// What is left waits: for somebody else who is at it, or for transactions that still run.
    Waiting,
    /// All that there was is in the sums.
    Done,
}

/// The upkeep of sums.
#[async_trait]
pub trait Rollups: Send + Sync + 'static {
    /// Adds the oldest requests that are not in the sums yet, in one transaction: about `most`, or fewer where that would
    /// keep others waiting. Each request is added once, whoever calls and however often.
    async fn fold_usage(&self, most: u32) -> Result<Folded, StoreError>;
}
