//! Repeats of a request: what a client that sends an `Idempotency-Key` again is answered, so that it is billed once.

use crate::money::Nanos;

/// For so long after its request has ended a key is remembered.
pub const KEPT_SECONDS: i64 = 24 * 3600;

/// What is known of the request that has claimed a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Whether the repeat asks for the same.
    pub body: Body,
    /// What is booked of it.
    pub usage: BookedUsage,
    /// Whether the replica that claimed the key for it runs.
    pub replica: ReplicaState,
    /// Whether its answer is kept.
    pub answer: KeptAnswer,
    /// Whether it is still remembered.
    pub memory: Memory,
}

/// Whether a repeat asks for the same as the request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It does.
    Same,
    /// It does not.
    Other,
}

/// What is booked of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookedUsage {
    /// Nothing: it runs, or has come to nothing.
    Nothing,
    /// It has ended and is to be charged; how much is still to be found out, or to be booked by hand.
    Open,
    /// The client was charged so much.
    Charged(Nanos),
    /// A loss of the operator: the client paid nothing.
    Lost,
}

/// Whether a replica runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// As far as the database knows.
    Running,
    /// It has ended, and its requests with it.
    Ended,
}

/// Whether an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptAnswer {
    /// All of it.
    Whole,
    /// It was streamed, too large, or there was none.
    None,
}

/// Whether a key is still remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It is.
    Fresh,
    /// Its time is over.
    Expired,
}

/// What a repeat is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The key is free: the repeat runs. Should what held it be booked after all, that is a loss
    /// ([`crate::UsageEvent::forfeit`]).
    Free,
    /// The key belongs to another request.
    OtherBody,
    /// The request has not ended, or its price is not known yet.
    Running,
    /// The answer is there.
    Answered,
    /// It was answered and charged, and the answer is gone.
    Finished,
}

/// What a repeat of a request is answered. A request that cost its client nothing because of us, or that died with its
/// replica, leaves its key free.
pub fn judge(holder: &Holder) -> Verdict {
    let has_answer = holder.answer == KeptAnswer::Whole;
    let is_free = match holder.usage {
        BookedUsage::Nothing => holder.replica == ReplicaState::Ended && !has_answer,
        BookedUsage::Lost => holder.memory == Memory::Expired || !has_answer,
        BookedUsage::Charged(_) => holder.memory == Memory::Expired,
        BookedUsage::Open => false,
    };
    match holder {
        _ if is_free => Verdict::Free,
        Holder {
            body: Body::Other, ..
        } => Verdict::OtherBody,
        _ if has_answer => Verdict::Answered,
        Holder {
            usage: BookedUsage::Charged(_),
            ..
        } => Verdict::Finished,
        _ => Verdict::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARGED: BookedUsage = BookedUsage::Charged(Nanos::new(80));

    fn holder(usage: BookedUsage) -> Holder {
        Holder {
            body: Body::Same,
            usage,
            replica: ReplicaState::Running,
            answer: KeptAnswer::None,
            memory: Memory::Fresh,
        }
    }

    #[test]
    fn a_request_that_runs_or_was_charged_is_not_run_again() {
        for (usage, verdict) in [
            (BookedUsage::Nothing, Verdict::Running),
            (BookedUsage::Open, Verdict::Running),
            (CHARGED, Verdict::Finished),
        ] {
            assert_eq!(judge(&holder(usage)), verdict);
            let other = Holder {
                body: Body::Other,
                ..holder(usage)
            };
            assert_eq!(judge(&other), Verdict::OtherBody);
            let answered = Holder {
                answer: KeptAnswer::Whole,
                ..holder(usage)
            };
            assert_eq!(judge(&answered), Verdict::Answered);
        }
    }

    #[test]
    fn what_cost_nothing_leaves_its_key_free_whatever_the_body() {
        for body in [Body::Same, Body::Other] {
            let lost = Holder {
                body,
                ..holder(BookedUsage::Lost)
            };
            assert_eq!(judge(&lost), Verdict::Free);
            let died = Holder {
                body,
                replica: ReplicaState::Ended,
                ..holder(BookedUsage::Nothing)
            };
            assert_eq!(judge(&died), Verdict::Free);
        }
    }

    #[test]
    fn the_end_of_a_replica_frees_no_key_of_what_is_charged() {
        for usage in [BookedUsage::Open, CHARGED] {
            let ended = Holder {
                replica: ReplicaState::Ended,
                ..holder(usage)
            };
            assert_ne!(judge(&ended), Verdict::Free);
        }
    }

    #[test]
    fn a_key_is_forgotten_only_when_its_request_is_over() {
        let old = |usage| Holder {
            memory: Memory::Expired,
            ..holder(usage)
        };
        assert_eq!(judge(&old(CHARGED)), Verdict::Free);
        assert_eq!(judge(&old(BookedUsage::Nothing)), Verdict::Running);
        assert_eq!(judge(&old(BookedUsage::Open)), Verdict::Running);
    }
}
