//! Who is asking, and how secrets are kept: client keys, sealed secrets, passwords, and the pseudonyms under which
//! tenants are known upstream. Pure functions over bytes, no I/O but the operating system's randomness.

mod base62;
mod client_key;
mod password;
mod pseudonym;
mod random;
mod sealed;

pub use client_key::{ClientKey, ClientKeyError, KeyHash};
pub use password::{PasswordError, PasswordHash, PasswordMismatch, hash_password, verify_password};
pub use pseudonym::{Pseudonym, Pseudonyms};
pub use random::RandomnessUnavailable;
pub use sealed::{
    EncryptionKeys, EncryptionKeysError, OpenError, SealContext, SealError, SealedSecret,
};
