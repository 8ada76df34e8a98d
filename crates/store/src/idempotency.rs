//! Keys that clients send so that a repeat is not run, or billed, twice.

use std::collections::{HashMap, HashSet};
use std::fmt;

use airouter_auth::SealedSecret;
use airouter_billing::idempotency::{
    Body, BookedUsage, Holder, KeptAnswer, Memory, ReplicaState, Verdict, judge,
};
use airouter_billing::{Nanos, Outcome, RequestId, Timestamp, UsageEvent};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::leases::ReplicaId;

/// The largest answer that is kept for repeats, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;

/// SHA-256 of a client key's id and an `Idempotency-Key`: the keys of two clients never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencySlot([u8; 32]);

/// SHA-256 of what a request asks for: its route and its body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestFingerprint([u8; 32]);

macro_rules! hash_value {
    ($name:ident) => {
        impl $name {
            /// The hash with these bytes.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        /// In hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0
                    .iter()
                    .try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({self})", stringify!($name))
            }
        }
    };
}

hash_value!(IdempotencySlot);
hash_value!(RequestFingerprint);

/// A request that wants a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewClaim {
    /// The key.
    pub slot: IdempotencySlot,
    /// What is asked for.
    pub fingerprint: RequestFingerprint,
    /// The request.
    pub request: RequestId,
}

/// A key that a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The key.
    pub slot: IdempotencySlot,
    /// The request.
    pub request: RequestId,
}

/// What a request that wanted a key got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The key: it runs.
    Granted,
    /// The key is another request's, which asked for something else.
    OtherBody,
    /// The same request runs.
    Running {
        /// Which.
        request: RequestId,
    },
    /// The same request was answered.
    Answered {
        /// Which.
        request: RequestId,
        /// What the client was charged; `None` while that is not known.
        price: Option<Nanos>,
        /// The answer.
        answer: SealedSecret,
    },
    /// The same request was answered, and the answer is not kept.
    Finished {
        /// Which.
        request: RequestId,
        /// What the client was charged.
        price: Nanos,
    },
}

/// A request that has ended and keeps its key. It is committed with the request's usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedClaim {
    /// The request and its key.
    pub claim: Claim,
    /// What repeats are answered, if it is kept.
    #[serde(with = "sealed_text")]
    pub answer: Option<SealedSecret>,
}

/// Events of a batch whose keys have gone to other requests meanwhile: for adapters.
#[derive(Debug, Default)]
pub struct Forfeits {
    losses: HashMap<RequestId, UsageEvent>,
    charged: Vec<RequestId>,
}

impl Forfeits {
    /// Those of `events` whose keys others have `taken`.
    pub fn of<'a>(
        events: impl IntoIterator<Item = &'a UsageEvent>,
        taken: &HashSet<RequestId>,
    ) -> Self {
        let mut forfeits = Self::default();
        for event in events {
            let id = event.request.id;
            if taken.contains(&id) {
                forfeits.losses.insert(id, event.clone().forfeit());
                if event.outcome == Outcome::Charged {
                    forfeits.charged.push(id);
                }
            }
        }
        forfeits
    }

    /// What is booked instead of `event`.
    pub fn instead_of<'a>(&'a self, event: &'a UsageEvent) -> &'a UsageEvent {
        self.losses.get(&event.request.id).unwrap_or(event)
    }

    /// Requests that would have been charged.
    pub fn charged(&self) -> &[RequestId] {
        &self.charged
    }
}

/// Keys for repeats.
#[async_trait]
pub trait Idempotency: Send + Sync + 'static {
    /// Gives each request its key, unless another one has it, by [`airouter_billing::idempotency::judge`]. Of requests that
    /// want one key, on whichever replicas, one gets it. Who asks again for what it has gets it again. One answer a claim,
    /// in order.
    async fn claim(
        &self,
        replica: ReplicaId,
        claims: &[NewClaim],
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Frees the keys of requests that came to nothing. A key that has gone to another request stays there.
    async fn release(&self, claims: &[Claim]) -> Result<(), StoreError>;

    /// Forgets keys whose time is over, at most `limit`, and returns how many. The key of a request that runs, or whose usage
    /// may yet be charged, is kept for as long as that is so.
    async fn sweep_claims(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError>;
}

/// A key that is taken, as an adapter reads it.
#[derive(Clone, Debug)]
pub struct TakenKey {
    /// What its request asked for.
    pub fingerprint: RequestFingerprint,
    /// The request.
    pub request: RequestId,
    /// What is booked of it.
    pub usage: BookedUsage,
    /// Whether the replica that claimed it runs.
    pub replica: ReplicaState,
    /// The answer, if it is kept.
    pub answer: Option<SealedSecret>,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// Answers claims by the keys that are taken: for adapters. Also returns the claims whose keys change hands now.
pub fn answer_claims(
    claims: &[NewClaim],
    mut taken: HashMap<IdempotencySlot, TakenKey>,
    now: Timestamp,
) -> (Vec<Claimed>, Vec<NewClaim>) {
    let mut changes = Vec::new();
    let answers = claims
        .iter()
        .map(|claim| {
            let held = taken.get(&claim.slot);
            let verdict = held.map_or(Verdict::Free, |key| judge(&key.seen_by(claim, now)));
            match (held, verdict) {
                (Some(key), _) if key.request == claim.request => Claimed::Granted,
                (
                    Some(key),
                    Verdict::OtherBody | Verdict::Running | Verdict::Answered | Verdict::Finished,
                ) => key.answer_to_repeat(verdict),
                (None, _) | (_, Verdict::Free) => {
                    changes.push(*claim);
                    taken.insert(claim.slot, TakenKey::new(claim, now));
                    Claimed::Granted
                }
            }
        })
        .collect();
    (answers, changes)
}

impl TakenKey {
    fn new(claim: &NewClaim, now: Timestamp) -> Self {
        Self {
            fingerprint: claim.fingerprint,
            request: claim.request,
            usage: BookedUsage::Nothing,
            replica: ReplicaState::Running,
            answer: None,
            expires_at: now.plus_seconds(airouter_billing::idempotency::KEPT_SECONDS),
        }
    }

    fn seen_by(&self, repeat: &NewClaim, now: Timestamp) -> Holder {
        Holder {
            body: if self.fingerprint == repeat.fingerprint {
                Body::Same
            } else {
                Body::Other
            },
            usage: self.usage,
            replica: self.replica,
            answer: match self.answer {
                Some(_) => KeptAnswer::Whole,
                None => KeptAnswer::None,
            },
            memory: if self.expires_at > now {
                Memory::Fresh
            } else {
                Memory::Expired
            },
        }
    }

    fn answer_to_repeat(&self, verdict: Verdict) -> Claimed {
        let request = self.request;
        let price = match self.usage {
            BookedUsage::Charged(price) => Some(price),
            BookedUsage::Lost => Some(Nanos::ZERO),
            BookedUsage::Nothing | BookedUsage::Open => None,
        };
        match (verdict, &self.answer, price) {
            (Verdict::OtherBody, ..) => Claimed::OtherBody,
            (Verdict::Answered, Some(answer), price) => Claimed::Answered {
                request,
                price,
                answer: answer.clone(),
            },
            (Verdict::Finished, _, Some(price)) => Claimed::Finished { request, price },
            _ => Claimed::Running { request },
        }
    }
}

/// A sealed answer as base64, for records of the spool.
mod sealed_text {
    use airouter_auth::SealedSecret;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        answer: &Option<SealedSecret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match answer {
            Some(answer) => serializer.serialize_some(&BASE64.encode(answer.as_bytes())),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SealedSecret>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| BASE64.decode(text).map(SealedSecret::from_bytes))
            .transpose()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn claim() -> Claim {
        Claim {
            slot: IdempotencySlot::new([7; 32]),
            request: RequestId::new(Uuid::from_u128(1)),
        }
    }

    #[test]
    fn a_finished_claim_survives_the_spool() {
        for answer in [None, Some(SealedSecret::from_bytes(vec![0, 255, 1]))] {
            let finished = FinishedClaim {
                claim: claim(),
                answer,
            };
            let record = serde_json::to_vec(&finished).unwrap();
            let read: FinishedClaim = serde_json::from_slice(&record).unwrap();
            assert_eq!(read, finished);
        }
    }

    #[test]
    fn of_two_claims_of_one_batch_one_is_granted() {
        let new = |id, fingerprint| NewClaim {
            slot: claim().slot,
            fingerprint: RequestFingerprint::new([fingerprint; 32]),
            request: RequestId::new(Uuid::from_u128(id)),
        };
        let claims = [new(1, 0), new(2, 0), new(3, 9), new(1, 0)];
        let (answers, changes) = answer_claims(&claims, HashMap::new(), Timestamp::from_micros(0));
        let request = RequestId::new(Uuid::from_u128(1));
        assert_eq!(
            answers,
            [
                Claimed::Granted,
                Claimed::Running { request },
                Claimed::OtherBody,
                Claimed::Granted
            ]
        );
        assert_eq!(changes, claims[..1]);
    }
}
