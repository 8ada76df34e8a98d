//! Passwords: argon2id with the parameters that OWASP's Password Storage Cheat Sheet recommends (19 MiB, two passes, one
//! lane). Each call computes for tens of milliseconds: callers run it where blocking is allowed.

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// What a stored hash may ask for at most, so that a row of the database can't order gigabytes or minutes.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 8;

/// Longer passwords are refused: nobody types them.
const LONGEST_PASSWORD_BYTES: usize = 1024;

/// The hash of a password with its salt and parameters, as a PHC string (`$argon2id$v=19$…`).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// Why a password couldn't be hashed, or a stored hash not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// More than 1,024 bytes.
    #[error("the password is longer than {LONGEST_PASSWORD_BYTES} bytes")]
    TooLong,
    /// Not an argon2id PHC string, or one whose parameters are beyond reason.
    #[error("the stored password hash is not an argon2id hash with sensible parameters")]
    NotAHash,
    /// No salt, or no memory.
    #[error("the password can't be hashed now")]
    Unavailable,
}

/// The password is not the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password does not match")]
pub struct PasswordMismatch;

impl PasswordHash {
    /// Reads a hash as it was stored.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let hash = phc::PasswordHash::new(text).map_err(|_| PasswordError::NotAHash)?;
        let parameters = Params::try_from(&hash).map_err(|_| PasswordError::NotAHash)?;
        let sensible = hash.algorithm == Algorithm::Argon2id.ident()
            && hash.salt.is_some()
            && hash.hash.is_some()
            && parameters.m_cost() <= MOST_MEMORY_KIB
            && parameters.t_cost() <= MOST_PASSES
            && parameters.p_cost() <= MOST_LANES;
        if sensible {
            Ok(Self(text.to_owned()))
        } else {
            Err(PasswordError::NotAHash)
        }
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a new hash of the same password would have other parameters.
    pub fn is_outdated(&self) -> bool {
        let parameters = phc::PasswordHash::new(&self.0)
            .ok()
            .and_then(|hash| Params::try_from(&hash).ok());
        parameters.is_none_or(|found| {
            (found.m_cost(), found.t_cost(), found.p_cost()) != (MEMORY_KIB, PASSES, LANES)
        })
    }
}

/// Keeps hashes out of logs, where they could be attacked offline.
impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// Hashes a password with a new random salt. Blocks for tens of milliseconds.
pub fn hash_password(password: &SecretString) -> Result<PasswordHash, PasswordError> {
    let password = password.expose_secret().as_bytes();
    if password.len() > LONGEST_PASSWORD_BYTES {
        return Err(PasswordError::TooLong);
    }
    let parameters =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| PasswordError::Unavailable)?;
    let hash: phc::PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password(password)
        .map_err(|_| PasswordError::Unavailable)?;
    Ok(PasswordHash(hash.to_string()))
}

/// Compares a password with a stored hash, with that hash's own parameters. Blocks for tens of milliseconds.
pub fn verify_password(
    password: &SecretString,
    hash: &PasswordHash,
) -> Result<(), PasswordMismatch> {
    let password = password.expose_secret().as_bytes();
    if password.len() > LONGEST_PASSWORD_BYTES {
        return Err(PasswordMismatch);
    }
    let hash = phc::PasswordHash::new(&hash.0).map_err(|_| PasswordMismatch)?;
    Argon2::default()
        .verify_password(password, &hash)
        .map_err(|_| PasswordMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn only_the_right_password_matches() {
        let hash = hash_password(&secret("correct horse")).unwrap();
        assert!(
            hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.as_str()
        );
        let stored = PasswordHash::parse(hash.as_str()).unwrap();
        assert_eq!(verify_password(&secret("correct horse"), &stored), Ok(()));
        assert_eq!(
            verify_password(&secret("correct horse "), &stored),
            Err(PasswordMismatch)
        );
        assert_eq!(verify_password(&secret(""), &stored), Err(PasswordMismatch));
        assert_ne!(
            hash_password(&secret("correct horse")).unwrap(),
            hash,
            "the salt is new each time"
        );
        assert!(!stored.is_outdated());
    }

    #[test]
    fn a_hash_with_other_parameters_is_outdated() {
        let parameters = Params::new(MEMORY_KIB, PASSES - 1, LANES, None).unwrap();
        let old: phc::PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password(b"correct horse")
            .unwrap();
        let old = PasswordHash::parse(&old.to_string()).unwrap();
        assert!(old.is_outdated());
        assert_eq!(verify_password(&secret("correct horse"), &old), Ok(()));
    }

    #[test]
    fn a_password_of_unreasonable_length_is_refused() {
        let long = secret(&"x".repeat(LONGEST_PASSWORD_BYTES + 1));
        assert_eq!(hash_password(&long), Err(PasswordError::TooLong));
    }

    #[test]
    fn stored_hashes_that_are_none_or_cost_too_much_are_refused() {
        let salt_and_hash = "c29tZXNhbHRzb21lc2FsdA$G6NGZQuAHMHcoJRHcTKK7pQQQzGUsqTZ8JNgU9AzGxA";
        let with = |head: &str| PasswordHash::parse(&format!("{head}${salt_and_hash}")).map(|_| ());
        assert_eq!(with("$argon2id$v=19$m=19456,t=2,p=1"), Ok(()));
        for head in [
            "$argon2id$v=19$m=4194304,t=2,p=1",
            "$argon2id$v=19$m=19456,t=1000000,p=1",
            "$argon2i$v=19$m=19456,t=2,p=1",
            "$bcrypt$v=19$m=19456,t=2,p=1",
        ] {
            assert_eq!(with(head), Err(PasswordError::NotAHash), "{head}");
        }
        for text in [
            "",
            "plain",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
        ] {
            assert_eq!(
                PasswordHash::parse(text).map(|_| ()),
                Err(PasswordError::NotAHash),
                "{text}"
            );
        }
    }
}
