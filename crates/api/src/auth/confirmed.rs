//! What somebody who has logged in must prove once more: a stolen access token alone changes nothing about the login.

use airouter_auth::PasswordHash;
use airouter_store::logins::Login;
use secrecy::SecretString;

use super::login::stored_hash;
use crate::attempts::Attempt;
use crate::caller::ClientAddress;
use crate::problem::Problem;
use crate::shared::Shared;

/// The stored hash of the caller's password, if this is the password. It counts as an attempt to log in.
pub(super) async fn password(
    shared: &Shared,
    login: &Login,
    ClientAddress(from): ClientAddress,
    password: SecretString,
) -> Result<PasswordHash, Problem> {
    let attempt = Attempt::LogIn {
        email: &login.email,
        from,
    };
    shared.count(&attempt).await?;
    let found = shared.store.credentials(&login.email).await?;
    let hash = found.as_ref().and_then(stored_hash);
    let is_right = shared.passwords.is_right(password, hash.clone()).await?;
    match hash {
        Some(hash) if is_right => {
            shared.succeeded(&attempt).await;
            Ok(hash)
        }
        _ => Err(Problem::WrongPassword),
    }
}
