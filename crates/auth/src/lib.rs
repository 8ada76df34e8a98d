//! Who is asking, and how secrets are kept: client keys, the tokens of logins, sealed secrets, passwords,
//! and the pseudonyms under which tenants are known upstream. Pure functions over bytes, no I/O but the operating system's randomness.

mod access_token;
mod address_access;
mod base32;
mod base62;
mod browser_note;
mod chain;
mod checksum;
mod client_key;
mod opaque_token;
mod password;
mod pseudonym;
mod random;
mod recovery_code;
mod refresh_token;
mod sealed;
mod token_keys;
mod totp;

pub use access_token::{ACCESS_TOKEN_SECONDS, AccessClaims, AccessTokenError, NotSigned};
pub use address_access::{AddressAccess, MOST_NETWORKS, NotANetwork, network};
pub use browser_note::NOTE_SECONDS;
pub use chain::{ChainHash, chain_hash, sha256};
pub use checksum::Checksum;
pub use client_key::{ClientKey, ClientKeyError, KeyHash};
pub use opaque_token::{NotSuchAToken, OpaqueKind, OpaqueToken};
pub use password::{PasswordError, PasswordHash, PasswordMismatch, hash_password, verify_password};
pub use pseudonym::{Pseudonym, Pseudonyms};
pub use random::{RandomnessUnavailable, random_id};
pub use recovery_code::{NotARecoveryCode, RecoveryCode};
pub use refresh_token::{NotARefreshToken, REFRESH_TOKEN_SECONDS, RefreshToken, TokenHash};
pub use sealed::{
    EncryptionKeys, EncryptionKeysError, OpenError, SealContext, SealError, SealedSecret,
};
pub use token_keys::{TokenKeys, TokenKeysError};
pub use totp::{NotATotpSecret, TimeStep, TotpSecret};
