//! Where replicas tell each other what they have counted: each posts its own counters, whole, and reads the others'.
//!
//! A post replaces the replica's earlier one, so that sending it twice, or to a board that was wiped, does no harm. It
//! says in how many milliseconds each use leaves the window, never at what time: the clocks of replicas need not agree.

use std::fmt;

use crate::kinds::ByKind;
use crate::window::Moment;
use crate::{LimitKey, LimitKind};

/// For so long after its post others count a replica's reserve: longer than the replica itself uses it.
pub(crate) const RESERVE_COUNTS_MS: u64 = 1_500;
/// For so long after its post others count the requests that a replica runs: a dead one's are gone then.
pub(crate) const RUNNING_COUNTS_MS: u64 = 60_000;
/// After so long nothing that a post says counts any more.
pub(crate) const POST_LIVES_MS: u64 = 62_000;

/// What one replica tells of one key, and asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) key: LimitKey,
    /// The time by the clock of the replica.
    pub(crate) now: Moment,
    /// How many replicas live.
    pub(crate) replicas: u32,
    pub(crate) claims: ByKind<Claim>,
    /// When the uses in the two windows leave them; none for the requests at the same time.
    pub(crate) leaving: ByKind<Vec<Leaving>>,
}

/// What a replica has of one limit, and wants of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The limit; 0 where there is none, or none that is shared.
    pub(crate) limit: u64,
    /// What the replica has used.
    pub(crate) own: u64,
    /// What it was granted before and has not used.
    pub(crate) reserve: u64,
    /// What it needs beyond that, for requests that wait.
    pub(crate) want: u64,
    /// What the smallest of them needs: less is of no use.
    pub(crate) least: u64,
    /// What it would like for requests to come.
    pub(crate) ahead: u64,
}

/// Uses that leave the window together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leaving {
    /// In so many milliseconds.
    pub(crate) after_ms: u64,
    pub(crate) amount: u64,
}

/// What a replica learns from its post.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What is added to its reserve.
    pub(crate) granted: ByKind<u64>,
    /// What all others have used and reserved.
    pub(crate) others: ByKind<u64>,
    /// When the last of that leaves the window.
    pub(crate) last_after_ms: ByKind<u64>,
    /// When each of it does, in any order; told only where less was granted than wanted.
    pub(crate) leaving: ByKind<Vec<Leaving>>,
}

/// The board can't be reached, or does not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub(crate) String);

/// A board. Every call ends within a bound.
pub(crate) trait Board: Send {
    /// Connects if need be, says that this replica lives, and tells how many do.
    fn join(&mut self) -> impl Future<Output = Result<u32, Unreachable>> + Send;

    /// Posts, and gets an answer to each.
    fn exchange(
        &mut self,
        posts: &[Post],
    ) -> impl Future<Output = Result<Vec<Answer>, Unreachable>> + Send;

    /// Says that this replica is gone.
    fn leave(&mut self) -> impl Future<Output = ()> + Send;
}

impl fmt::Display for LimitKey {
    /// Its kind, and its id in hexadecimal digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match self {
            Self::Key(id) => ("key", id),
            Self::Account(id) => ("account", id),
            Self::MasterAccount(id) => ("master", id),
        };
        write!(formatter, "{kind}:{:032x}", u128::from_be_bytes(*id))
    }
}

impl Post {
    /// Whether the replica is to hear when what others have used leaves the window: it gets less than it wants.
    pub(crate) fn is_short(&self, kind: LimitKind, granted: u64) -> bool {
        granted < self.claims[kind].want
    }
}
