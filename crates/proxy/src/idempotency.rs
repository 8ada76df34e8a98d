//! Repeats: a request with an `Idempotency-Key` runs once. One insert claims the key before anything else is done; the
//! usage event, or the release after a failure that cost nothing, ends the claim. What a repeat is answered is decided in
//! [`airouter_billing::idempotency`].

mod keeper;

use airouter_auth::{EncryptionKeys, OpenError, SealContext, SealedSecret};
use airouter_billing::{ApiKeyId, Nanos, RequestId};
use airouter_store::idempotency::{
    ANSWER_BYTES_MAX, Claim, Claimed, FinishedClaim, IdempotencySlot, NewClaim, RequestFingerprint,
};
use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName};

use crate::problem::Problem;
use crate::route::Surface;

pub(crate) use keeper::{ClaimKeeper, ClaimLoop, HeldKey, Standing};

/// The header that carries a key.
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key.
const LONGEST_KEY: usize = 255;
/// Separate these hashes from any other.
const SLOT_PURPOSE: &[u8] = b"air router: Idempotency-Key of a client key, v1\0";
const FINGERPRINT_PURPOSE: &[u8] = b"air router: what a request asks for, v1\0";

/// A key as a client sends it: 1 to 255 visible ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey<'a>(&'a [u8]);

impl<'a> IdempotencyKey<'a> {
    /// Reads the header. `None` when it did not come.
    ///
    /// # Errors
    /// [`Problem::InvalidIdempotencyKey`] when it is empty, too long, no visible ASCII, or came more than once.
    pub fn of(headers: &'a HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let key = value.as_bytes();
        let is_key = (1..=LONGEST_KEY).contains(&key.len())
            && key.iter().all(u8::is_ascii_graphic)
            && values.next().is_none();
        if is_key {
            Ok(Some(Self(key)))
        } else {
            Err(Problem::InvalidIdempotencyKey)
        }
    }

    /// Where the key is kept: a client key's own.
    pub fn slot(self, of: ApiKeyId) -> IdempotencySlot {
        IdempotencySlot::new(sha256(&[SLOT_PURPOSE, of.get().as_bytes(), self.0]))
    }
}

/// What a chat request asks for.
pub(crate) fn fingerprint(surface: Surface, body: &[u8]) -> RequestFingerprint {
    let route: &[u8] = match surface {
        Surface::OpenAi => b"POST /v1/chat/completions\0",
        Surface::OpenRouter => b"POST /api/v1/chat/completions\0",
    };
    RequestFingerprint::new(sha256(&[FINGERPRINT_PURPOSE, route, body]))
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// An answer that is sent again.
pub(crate) struct Replay {
    pub(crate) request: RequestId,
    pub(crate) price: Option<Nanos>,
    pub(crate) answer: Vec<u8>,
}

/// What a repeat is answered whose key another request has.
pub(crate) fn answer_to_repeat(
    keys: &EncryptionKeys,
    slot: IdempotencySlot,
    taken: Claimed,
) -> Result<Replay, Problem> {
    match taken {
        Claimed::Granted | Claimed::OtherBody => Err(Problem::IdempotencyKeyReused),
        Claimed::Running { request } => Err(Problem::RequestRunning { request }),
        Claimed::Finished { request, price } => Err(Problem::RequestFinished { request, price }),
        Claimed::Answered {
            request,
            price,
            answer,
        } => match open(keys, Claim { slot, request }, &answer) {
            Ok(answer) => Ok(Replay {
                request,
                price,
                answer,
            }),
            Err(error) => {
                tracing::error!(%error, %request, "an answer that was kept for repeats can't be opened");
                Err(match price {
                    Some(price) => Problem::RequestFinished { request, price },
                    None => Problem::RequestRunning { request },
                })
            }
        },
    }
}

/// An answer sealed for its row, if it is small enough to be kept.
fn seal(keys: &EncryptionKeys, claim: Claim, answer: &[u8]) -> Option<SealedSecret> {
    if answer.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let row = row_of(claim);
    keys.seal_record(answer, &context(&row))
        .inspect_err(|error| {
            tracing::error!(%error, request = %claim.request, "an answer can't be sealed for repeats");
        })
        .ok()
}

fn open(keys: &EncryptionKeys, claim: Claim, answer: &SealedSecret) -> Result<Vec<u8>, OpenError> {
    keys.open_record(answer, &context(&row_of(claim)))
}

/// The row: a key and the request that has it.
fn row_of(claim: Claim) -> String {
    format!("{}/{}", claim.slot, claim.request)
}

const fn context(row: &str) -> SealContext<'_> {
    SealContext {
        table: "idempotency_keys",
        column: "sealed_answer",
        row,
    }
}

/// A request that is handed to the group commit with its key.
pub(crate) fn finished(
    keys: &EncryptionKeys,
    claim: Claim,
    answer: Option<&[u8]>,
) -> FinishedClaim {
    FinishedClaim {
        claim,
        answer: answer.and_then(|answer| seal(keys, claim, answer)),
    }
}

/// What a request claims.
pub(crate) const fn new_claim(
    slot: IdempotencySlot,
    fingerprint: RequestFingerprint,
    request: RequestId,
) -> NewClaim {
    NewClaim {
        slot,
        fingerprint,
        request,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use uuid::Uuid;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn is_refused(values: &[&[u8]]) -> bool {
        matches!(
            IdempotencyKey::of(&headers(values)),
            Err(Problem::InvalidIdempotencyKey)
        )
    }

    #[test]
    fn a_key_is_one_header_of_visible_ascii() {
        assert!(IdempotencyKey::of(&headers(&[])).unwrap().is_none());
        for good in [b"k".as_slice(), b"\"8e03978e-40d5\"", &[b'~'; 255]] {
            assert!(IdempotencyKey::of(&headers(&[good])).unwrap().is_some());
        }
        for bad in [b"".as_slice(), b"a b", b"\xc3\xa9", b"a\tb", &[b'a'; 256]] {
            assert!(is_refused(&[bad]), "{bad:?}");
        }
        assert!(is_refused(&[b"a", b"a"]));
    }

    #[test]
    fn keys_of_two_clients_never_meet() {
        let headers = headers(&[b"key"]);
        let key = IdempotencyKey::of(&headers).unwrap().unwrap();
        let client = |id| ApiKeyId::new(Uuid::from_u128(id));
        assert_ne!(key.slot(client(1)), key.slot(client(2)));
        assert_eq!(key.slot(client(1)), key.slot(client(1)));
    }

    #[test]
    fn another_surface_or_body_is_another_request() {
        let first = fingerprint(Surface::OpenAi, b"{}");
        assert_eq!(first, fingerprint(Surface::OpenAi, b"{}"));
        assert_ne!(first, fingerprint(Surface::OpenAi, b"{ }"));
        assert_ne!(first, fingerprint(Surface::OpenRouter, b"{}"));
    }

    #[test]
    fn an_answer_opens_for_its_own_request_only() {
        let keys = EncryptionKeys::parse(&EncryptionKeys::generate().unwrap()).unwrap();
        let claim = Claim {
            slot: IdempotencySlot::new([1; 32]),
            request: RequestId::new(Uuid::from_u128(1)),
        };
        let sealed = seal(&keys, claim, b"answer").unwrap();
        assert_eq!(open(&keys, claim, &sealed).unwrap(), b"answer");
        let other = Claim {
            request: RequestId::new(Uuid::from_u128(2)),
            ..claim
        };
        assert!(open(&keys, other, &sealed).is_err());
        assert!(seal(&keys, claim, &vec![0; ANSWER_BYTES_MAX]).is_some());
        assert!(seal(&keys, claim, &vec![0; ANSWER_BYTES_MAX + 1]).is_none());
    }
}
