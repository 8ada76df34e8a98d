//! What is promised, and how a broken promise is told.

use std::fmt;

/// A promise about money that can be stated of what is simulated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Every request is priced exactly, by what was in force at its admission.
    Exact,
    /// No budget is spent beyond its cap; what is held is reserved.
    NeverOverdrawn,
    /// A request is booked at most once, and refunded at most as far as it was charged.
    BilledOnce,
    /// An end that was sent is charged.
    DurableBeforeDone,
    /// What the upstream billed is charged or a loss with its reason; holds and leases return.
    NothingForgotten,
    /// What the upstream does not bill, the client does not pay.
    FreeWhenItFails,
    /// Transactions sum to zero, balances are sums of postings, events equal the ledger.
    Conserved,
    /// Nothing that was booked is changed.
    AppendOnly,
    /// Money that is free can be spent, on any replica.
    Spendable,
}

impl Promise {
    /// The promise in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::NeverOverdrawn => "never overdrawn",
            Self::BilledOnce => "billed once",
            Self::DurableBeforeDone => "durable before done",
            Self::NothingForgotten => "nothing forgotten",
            Self::FreeWhenItFails => "free when it fails",
            Self::Conserved => "conserved",
            Self::AppendOnly => "append only",
            Self::Spendable => "spendable",
        }
    }
}

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub promise: Promise,
    /// What was seen.
    pub what: String,
}

impl Broken {
    pub(crate) const fn new(promise: Promise, what: String) -> Self {
        Self { promise, what }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise.words(), self.what)
    }
}

/// `Ok` when it holds.
pub(crate) fn holds(
    is_kept: bool,
    promise: Promise,
    what: impl FnOnce() -> String,
) -> Result<(), Broken> {
    if is_kept {
        Ok(())
    } else {
        Err(Broken::new(promise, what()))
    }
}
