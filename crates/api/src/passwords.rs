//! Hashing passwords away from the threads that serve requests, and only so many at the same time: each takes 19 MiB and
//! tens of milliseconds.

use std::thread;
use std::time::Duration;

use airouter_auth::{PasswordError, PasswordHash, hash_password, random_id, verify_password};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::problem::Problem;

/// For so long a password waits for those before it.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub(crate) struct Passwords {
    places: Semaphore,
    /// The hash of a password that nobody has: where there is no user, as much is computed as where there is one.
    nobodys: PasswordHash,
}

/// Nobody knows it, and it has no more use.
fn nobodys_password() -> Result<SecretString, PasswordError> {
    let random = random_id().map_err(|_| PasswordError::Unavailable)?;
    Ok(SecretString::from(random.to_string()))
}

impl Passwords {
    /// Computes for some tens of milliseconds.
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let places = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            places: Semaphore::new(places),
            nobodys: hash_password(&nobodys_password()?)?,
        })
    }

    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: SecretString) -> Result<PasswordHash, Problem> {
        let hashed = self.compute(move || hash_password(&password)).await?;
        hashed.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            Problem::Internal
        })
    }

    /// Whether a password is the one that was hashed; without a hash it never is, which takes as long.
    pub(crate) async fn is_right(
        &self,
        password: SecretString,
        hash: Option<PasswordHash>,
    ) -> Result<bool, Problem> {
        let is_somebodys = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobodys.clone());
        let matches = self
            .compute(move || verify_password(&password, &hash).is_ok())
            .await?;
        Ok(matches && is_somebodys)
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let _place = timeout(LONGEST_WAIT, self.places.acquire())
            .await
            .map_err(|_| Problem::Busy)?
            .map_err(|_| Problem::Internal)?;
        spawn_blocking(work).await.map_err(|_| Problem::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let passwords = Passwords::new().unwrap();
        let secret = |text: &str| SecretString::from(text);
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        for (password, hash, expected) in [
            ("correct horse", Some(hash.clone()), true),
            ("wrong horse", Some(hash), false),
            ("correct horse", None, false),
        ] {
            let is_right = passwords.is_right(secret(password), hash).await.unwrap();
            assert_eq!(is_right, expected, "{password}");
        }
    }
}
