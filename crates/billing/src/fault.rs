//! Faults that the simulation plants to see that it finds them. Without the feature `planted-faults` there are none, and
//! asking for one costs nothing.

/// A way in which the money core could be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A hold is settled twice: spent, and given back as well.
    HoldSettledTwice,
    /// A hold is lost when a later budget of the chain refuses.
    HoldLostOnRefusal,
    /// A hold is lost when a request ends without having been served.
    HoldLostOnDisconnect,
    /// A lease is used after its expiry.
    ExpiredLeaseUsed,
    /// A lapsed lease is returned to its budget too early.
    LapsedLeaseReturnedEarly,
    /// An event that comes again is settled again.
    SpoolReplayedTwice,
    /// A price is rounded for each chunk of an answer.
    RoundedPerChunk,
    /// A request is priced by what is in force when it ends.
    PriceChangedInMidRequest,
    /// A new period forgets what requests hold of the last one.
    ResetForgetsHolds,
    /// More is refunded than was charged.
    RefundAboveCharge,
    /// A loss that is corrected is not taken back.
    LossNotReversed,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 11] = [
        Self::HoldSettledTwice,
        Self::HoldLostOnRefusal,
        Self::HoldLostOnDisconnect,
        Self::ExpiredLeaseUsed,
        Self::LapsedLeaseReturnedEarly,
        Self::SpoolReplayedTwice,
        Self::RoundedPerChunk,
        Self::PriceChangedInMidRequest,
        Self::ResetForgetsHolds,
        Self::RefundAboveCharge,
        Self::LossNotReversed,
    ];

    /// The name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HoldSettledTwice => "hold-settled-twice",
            Self::HoldLostOnRefusal => "hold-lost-on-refusal",
            Self::HoldLostOnDisconnect => "hold-lost-on-disconnect",
            Self::ExpiredLeaseUsed => "expired-lease-used",
            Self::LapsedLeaseReturnedEarly => "lapsed-lease-returned-early",
            Self::SpoolReplayedTwice => "spool-replayed-twice",
            Self::RoundedPerChunk => "rounded-per-chunk",
            Self::PriceChangedInMidRequest => "price-changed-in-mid-request",
            Self::ResetForgetsHolds => "reset-forgets-holds",
            Self::RefundAboveCharge => "refund-above-charge",
            Self::LossNotReversed => "loss-not-reversed",
        }
    }
}

#[cfg(not(feature = "planted-faults"))]
mod switch {
    use super::Fault;

    pub(crate) const fn is_planted(_: Fault) -> bool {
        false
    }
}

#[cfg(feature = "planted-faults")]
mod switch {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Keeps a fault planted in this thread until it is dropped.
    #[derive(Debug)]
    pub struct Planted(());

    /// Plants `fault` in this thread, or none.
    #[must_use = "the fault is planted while this lives"]
    pub fn plant(fault: Option<Fault>) -> Planted {
        PLANTED.set(fault);
        Planted(())
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    /// Whether `fault` is planted in this thread.
    pub fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(not(feature = "planted-faults"))]
pub(crate) use switch::is_planted;
#[cfg(feature = "planted-faults")]
pub use switch::{Planted, is_planted, plant};
