//! Whether somebody has the second factor: a code of the authenticator, or a recovery code.

use std::net::IpAddr;

use airouter_auth::{RecoveryCode, TotpSecret};
use airouter_billing::{AccountId, UserId};
use airouter_store::audit::AuditEntry;
use airouter_store::clients::Person;
use airouter_store::logins::Login;
use airouter_store::second_factors::{FactorState, SecondFactor};
use secrecy::{ExposeSecret as _, SecretString};

use super::secret;
use crate::attempts::Attempt;
use crate::problem::Problem;
use crate::shared::Shared;

/// Whose second factor it is.
#[derive(Clone, Copy, Debug)]
struct Owner<'a> {
    user: UserId,
    account: AccountId,
    email: &'a str,
}

impl<'a> From<&'a Login> for Owner<'a> {
    fn from(login: &'a Login) -> Self {
        Self {
            user: login.user,
            account: login.account,
            email: &login.email,
        }
    }
}

impl<'a> From<&'a Person> for Owner<'a> {
    fn from(person: &'a Person) -> Self {
        Self {
            user: person.user,
            account: person.account,
            email: &person.email,
        }
    }
}

/// Lets somebody pass whose password was found right: who has no second factor that is on, or shows a code of it.
pub(crate) async fn prove_at_login(
    shared: &Shared,
    email: &str,
    user: UserId,
    code: Option<&SecretString>,
    from: IpAddr,
) -> Result<(), Problem> {
    let factor = shared.store.second_factor(user).await?;
    let Some(factor) = factor.filter(is_on) else {
        return Ok(());
    };
    let code = code.ok_or(Problem::SecondFactorNeeded)?;
    let person = shared.store.person_by_email(email).await?;
    let person = person.filter(|person| person.user == user);
    let person = person.ok_or(Problem::WrongCredentials)?;
    check(shared, Owner::from(&person), &factor, code, from).await
}

/// The same for somebody who has logged in, and whose second factor must be on.
pub(crate) async fn prove(
    shared: &Shared,
    login: &Login,
    code: &SecretString,
    from: IpAddr,
) -> Result<(), Problem> {
    let factor = shared.store.second_factor(login.user).await?;
    let factor = factor.filter(is_on).ok_or(Problem::NoSecondFactor)?;
    check(shared, Owner::from(login), &factor, code, from).await
}

fn is_on(factor: &SecondFactor) -> bool {
    factor.state != FactorState::Pending
}

/// Uses up a code. It counts as an attempt before it is looked at.
async fn check(
    shared: &Shared,
    owner: Owner<'_>,
    factor: &SecondFactor,
    code: &SecretString,
    from: IpAddr,
) -> Result<(), Problem> {
    let attempt = Attempt::Code {
        of: owner.user,
        from,
    };
    shared.count(&attempt).await?;
    let code = code.expose_secret().trim();
    let is_good = match RecoveryCode::parse(code) {
        Ok(code) => use_recovery_code(shared, owner, &code, from).await?,
        Err(_) => match secret::open(shared, owner.user, &factor.secret) {
            Some(secret) => use_time_code(shared, owner.user, &secret, code).await?,
            None => false,
        },
    };
    if !is_good {
        return Err(Problem::WrongCode);
    }
    shared.succeeded(&attempt).await;
    Ok(())
}

async fn use_time_code(
    shared: &Shared,
    user: UserId,
    secret: &TotpSecret,
    code: &str,
) -> Result<bool, Problem> {
    match secret.step_of(code, shared.now_seconds()) {
        Some(step) => Ok(shared.store.use_time_step(user, step).await?),
        None => Ok(false),
    }
}

async fn use_recovery_code(
    shared: &Shared,
    owner: Owner<'_>,
    code: &RecoveryCode,
    from: IpAddr,
) -> Result<bool, Problem> {
    let (action, subject) = ("login.recovery_code_used", owner.account.get());
    let entry = AuditEntry {
        actor_id: Some(owner.user),
        address: Some(from.to_string()),
        ..AuditEntry::new(owner.email, action, subject, shared.now())
    };
    let hash = code.hash();
    let used = shared.store.use_recovery_code(owner.user, &hash, &entry);
    Ok(used.await?)
}
