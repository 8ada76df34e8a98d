//! The clock of the data plane.

use airouter_billing::Timestamp;

/// Tells the time. Everything in this crate asks a clock that it was given, so that tests can set it.
pub trait Clock: Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}
