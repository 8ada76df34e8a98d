//! What can be a password.

use secrecy::{ExposeSecret as _, SecretString};

use crate::problem::Problem;

/// A shorter one is guessed.
const SHORTEST: usize = 8;
const LONGEST: usize = 1024;

/// Whether a text can be a password.
pub(super) fn check(password: &SecretString) -> Result<(), Problem> {
    let text = password.expose_secret();
    if text.chars().count() >= SHORTEST && text.len() <= LONGEST {
        Ok(())
    } else {
        Err(Problem::Invalid {
            field: "password",
            expected: "8 characters or more, and at most 1024 bytes",
        })
    }
}
