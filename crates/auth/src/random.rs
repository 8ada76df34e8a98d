//! Randomness for keys and nonces, from the operating system.

use aws_lc_rs::rand;
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
