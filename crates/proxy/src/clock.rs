//! The clock of the data plane.

use airouter_billing::Timestamp;
use airouter_limits::Moment;

/// Tells the time. Everything in this crate asks a clock that it was given, so that tests can set it.
pub trait Clock: Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;

    /// Now, for the rate limits.
    fn moment(&self) -> Moment {
        Moment(u64::try_from(self.now().as_micros() / 1_000).unwrap_or(0))
    }
}
