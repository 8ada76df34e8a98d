//! What a failed attempt says about the account and the key that it ran on.

use std::time::Duration;

use airouter_openrouter::Fault;

use super::breaker::{Blow, Wait};
use crate::metrics::FaultKind;

/// For a key that is not accepted, or has reached its limit.
const KEY: Wait = Wait::of_seconds(60, 600);
/// For want of credit.
const NO_CREDIT: Wait = Wait::of_seconds(60, 600);
/// For a rate limit that doesn't say.
const RATE_LIMITED: Wait = Wait::of_seconds(5, 60);
/// The shortest and the longest wait that a rate limit may ask for.
const TOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Neither the account's nor its connection's: it answered.
    NotTheirs,
    /// The key's alone.
    Key(Blow),
    /// The account's, or its connection's.
    Account(Blow),
}

impl Verdict {
    /// Of a failed attempt: what was counted, and what the upstream said if it said anything.
    pub(crate) fn of(kind: FaultKind, fault: Option<Fault>) -> Self {
        match fault {
            Some(Fault::BadKey | Fault::KeyLimited) => Self::Key(Blow::Certain(KEY)),
            Some(Fault::NoCredit) => Self::Account(Blow::Certain(NO_CREDIT)),
            Some(Fault::AccountRateLimited { retry_after }) => Self::Account(match retry_after {
                Some(wait) => Blow::Told(wait.clamp(TOLD.0, TOLD.1)),
                None => Blow::Certain(RATE_LIMITED),
            }),
            Some(Fault::ServerFailed) => Self::Account(Blow::Doubtful),
            // A provider's failure is never held against the account.
            Some(
                Fault::NotPermitted
                | Fault::ProviderRateLimited { .. }
                | Fault::ProviderFailed
                | Fault::ModelNotServed
                | Fault::Timeout
                | Fault::Request,
            ) => Self::NotTheirs,
            None => match kind {
                FaultKind::Connect
                | FaultKind::Broken
                | FaultKind::Timeout
                | FaultKind::BadAnswer => Self::Account(Blow::Doubtful),
                _ => Self::NotTheirs,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_theirs_is_held_against_them() {
        let of = |fault: Fault| Verdict::of(fault.into(), Some(fault));
        for fault in [Fault::BadKey, Fault::KeyLimited] {
            assert!(matches!(of(fault), Verdict::Key(Blow::Certain(_))));
        }
        assert!(matches!(
            of(Fault::NoCredit),
            Verdict::Account(Blow::Certain(_))
        ));
        assert_eq!(of(Fault::ServerFailed), Verdict::Account(Blow::Doubtful));
        for (asked, obeyed) in [(0, 1), (30, 30), (86_400, 600)] {
            let retry_after = Some(Duration::from_secs(asked));
            let told = Verdict::Account(Blow::Told(Duration::from_secs(obeyed)));
            assert_eq!(of(Fault::AccountRateLimited { retry_after }), told);
        }
        for fault in [
            Fault::NotPermitted,
            Fault::ProviderRateLimited { retry_after: None },
            Fault::ProviderFailed,
            Fault::ModelNotServed,
            Fault::Timeout,
            Fault::Request,
        ] {
            assert_eq!(of(fault), Verdict::NotTheirs);
        }
        for kind in [
            FaultKind::Connect,
            FaultKind::Broken,
            FaultKind::Timeout,
            FaultKind::BadAnswer,
        ] {
            assert_eq!(Verdict::of(kind, None), Verdict::Account(Blow::Doubtful));
        }
    }
}
