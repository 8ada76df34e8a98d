//! Randomness for keys and nonces, from the operating system.

use aws_lc_rs::rand;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The operating system gave no random bytes; nothing secret can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomnessUnavailable;

pub(crate) fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomnessUnavailable> {
    let mut bytes = Zeroizing::new([0u8; N]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| RandomnessUnavailable)?;
    Ok(bytes)
}

/// An id that nobody can guess (a UUID of version 4).
pub fn random_id() -> Result<Uuid, RandomnessUnavailable> {
    let bytes = bytes::<16>()?;
    Ok(uuid::Builder::from_random_bytes(*bytes).into_uuid())
}
