//! Whose login somebody is who comes from a provider.

use airouter_billing::UserId;
use airouter_oidc::Identity;
use airouter_store::identities::{KnownLogin, KnownLogins};

use crate::names;
use crate::problem::Problem;

/// What becomes of somebody whom the provider vouches for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is this login.
    LogIn(UserId),
    /// It is the login with this address, which both sides have proved: from now on it is known.
    Link(KnownLogin),
    /// It is nobody's yet: a new login with this address.
    Register(String),
}

/// Decides. That a login has the address proves nothing while the address is not proved there: whoever has registered it
/// beforehand would get in, or let somebody else in.
pub(super) fn decide(known: KnownLogins, identity: &Identity) -> Result<Decision, Problem> {
    let active = |login: KnownLogin| match login.is_active {
        true => Ok(login),
        false => Err(Problem::LoginDisabled),
    };
    if let Some(login) = known.linked {
        return active(login).map(|login| Decision::LogIn(login.user));
    }
    let email = identity
        .email
        .as_deref()
        .filter(|_| identity.email_verified)
        .and_then(names::email)
        .ok_or(Problem::EmailNotVouchedFor)?;
    let Some(login) = known.of_email else {
        return Ok(Decision::Register(email));
    };
    match active(login)? {
        login if login.email_verified => Ok(Decision::Link(login)),
        _ => Err(Problem::LinkFirst),
    }
}

#[cfg(test)]
mod tests {
    use airouter_billing::AccountId;
    use uuid::Uuid;

    use super::*;

    const EMAIL: &str = "ann@example.com";

    enum Proof {
        Given,
        Missing,
    }

    fn identity(email: Option<&str>, proof: &Proof) -> Identity {
        Identity {
            subject: "ann".to_owned(),
            email: email.map(str::to_owned),
            email_verified: matches!(proof, Proof::Given),
            name: None,
        }
    }

    fn login(number: u128, proof: &Proof) -> KnownLogin {
        KnownLogin {
            user: UserId::new(Uuid::from_u128(number)),
            account: AccountId::new(Uuid::from_u128(number + 100)),
            email: EMAIL.to_owned(),
            email_verified: matches!(proof, Proof::Given),
            is_active: true,
        }
    }

    fn of_email(login: KnownLogin) -> KnownLogins {
        KnownLogins {
            linked: None,
            of_email: Some(login),
        }
    }

    #[test]
    fn who_is_known_logs_in_whatever_its_address() {
        let known = || KnownLogins {
            linked: Some(login(1, &Proof::Missing)),
            of_email: Some(login(2, &Proof::Given)),
        };
        for identity in [
            identity(Some(EMAIL), &Proof::Given),
            identity(Some(EMAIL), &Proof::Missing),
            identity(None, &Proof::Missing),
        ] {
            let decision = decide(known(), &identity).unwrap();
            assert_eq!(decision, Decision::LogIn(UserId::new(Uuid::from_u128(1))));
        }
    }

    #[test]
    fn a_login_is_taken_by_its_address_only_where_both_sides_proved_it() {
        let vouched = identity(Some(EMAIL), &Proof::Given);
        let proved = login(1, &Proof::Given);
        let decision = decide(of_email(proved.clone()), &vouched).unwrap();
        assert_eq!(decision, Decision::Link(proved.clone()));
        let unproved = of_email(login(1, &Proof::Missing));
        assert!(matches!(
            decide(unproved, &vouched),
            Err(Problem::LinkFirst)
        ));
        let not_vouched = identity(Some(EMAIL), &Proof::Missing);
        assert!(matches!(
            decide(of_email(proved), &not_vouched),
            Err(Problem::EmailNotVouchedFor)
        ));
    }

    #[test]
    fn who_is_unknown_registers_with_an_address_that_the_provider_vouches_for() {
        let nobody = KnownLogins::default;
        let decision = decide(nobody(), &identity(Some(EMAIL), &Proof::Given)).unwrap();
        assert_eq!(decision, Decision::Register(EMAIL.to_owned()));
        for identity in [
            identity(Some(EMAIL), &Proof::Missing),
            identity(None, &Proof::Given),
            identity(Some("no address"), &Proof::Given),
        ] {
            let refused = decide(nobody(), &identity);
            assert!(matches!(refused, Err(Problem::EmailNotVouchedFor)));
        }
    }

    #[test]
    fn a_disabled_login_is_refused_however_it_is_known() {
        let disabled = || KnownLogin {
            is_active: false,
            ..login(1, &Proof::Given)
        };
        let linked = KnownLogins {
            linked: Some(disabled()),
            of_email: None,
        };
        for known in [linked, of_email(disabled())] {
            let refused = decide(known, &identity(Some(EMAIL), &Proof::Given));
            assert!(matches!(refused, Err(Problem::LoginDisabled)));
        }
    }
}
