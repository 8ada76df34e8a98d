//! Identities of logins at providers.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use airouter_billing::event::Payment;
use futures_util::future::join_all;
use uuid::Uuid;

use super::client_admin::entry;
use super::world::{START, new_person};
use crate::audit::AuditEntry;
use crate::clients::NewPerson;
use crate::erasure::{ERASE, Erased};
use crate::identities::{KnownLogins, LinkGround, NewIdentity};
use crate::{Store, StoreError};

const ISSUER: &str = "https://id.example.com";

fn identity(subject: &str) -> NewIdentity {
    NewIdentity {
        id: Uuid::now_v7(),
        issuer: ISSUER.to_owned(),
        subject: subject.to_owned(),
        email: Some("ann@example.com".to_owned()),
        at: START,
    }
}

fn audit(person: &NewPerson, action: &str) -> AuditEntry {
    entry(person.account, action)
}

async fn person(store: &Arc<dyn Store>, password: Option<&str>) -> NewPerson {
    let mut person = new_person(Payment::Prepaid);
    person.password_hash = password.map(str::to_owned);
    store.create_person(&person).await.unwrap();
    person
}

async fn link(
    store: &Arc<dyn Store>,
    person: &NewPerson,
    identity: &NewIdentity,
) -> Result<(), StoreError> {
    let audit = audit(person, "identity.link");
    let ground = LinkGround::Session;
    store
        .link_identity(person.user, identity, ground, &audit)
        .await
}

async fn unlink(
    store: &Arc<dyn Store>,
    person: &NewPerson,
    identity: Uuid,
) -> Result<(), StoreError> {
    let audit = audit(person, "identity.unlink");
    store.unlink_identity(person.user, identity, &audit).await
}

async fn audited(store: &Arc<dyn Store>) -> usize {
    store.audit_log(0, 1_000).await.unwrap().len()
}

/// A person that a provider vouched for is created with a verified address, once.
pub async fn an_identity_registers_one_person(store: Arc<dyn Store>) {
    let people: Vec<_> = (0..4).map(|_| new_person(Payment::Prepaid)).collect();
    let registered = join_all(people.iter().map(|person| {
        let (store, identity) = (&store, identity("ann"));
        async move {
            let audit = audit(person, "identity.link");
            store
                .register_identity(person, &identity, None, &audit)
                .await
        }
    }))
    .await;
    let mut winners = Vec::new();
    for (person, outcome) in people.iter().zip(registered) {
        match outcome {
            Ok(()) => winners.push(person),
            Err(StoreError::Exists { .. }) => {
                let nobody = store.person_by_email(&person.email).await.unwrap();
                assert_eq!(nobody, None);
            }
            Err(error) => panic!("{error}"),
        }
    }
    let [winner] = winners[..] else {
        panic!("{} people are one identity", winners.len());
    };
    let known = store.known_logins(ISSUER, "ann", None).await.unwrap();
    let linked = known.linked.unwrap();
    assert_eq!((linked.user, linked.account), (winner.user, winner.account));
    assert!(linked.email_verified && linked.is_active);
    assert_eq!(audited(&store).await, 1);
    for (issuer, subject) in [(ISSUER, "Ann"), ("https://other.example", "ann")] {
        let known = store.known_logins(issuer, subject, None).await.unwrap();
        assert_eq!(known, KnownLogins::default());
    }
}

/// Where an invitation is needed, an identity needs one too, and uses it up.
pub async fn an_identity_registers_with_an_invitation(store: Arc<dyn Store>) {
    let code = OpaqueToken::generate(OpaqueKind::Invitation).unwrap();
    let invitation = crate::invitations::NewInvitation {
        id: Uuid::now_v7(),
        code: code.hash(),
        email: None,
        expires_at: START.plus_seconds(60),
        at: START,
    };
    let (ann, ben) = (new_person(Payment::Prepaid), new_person(Payment::Prepaid));
    let created = audit(&ann, "invitation.create");
    store.invite(&invitation, &created).await.unwrap();
    for (person, subject, is_registered) in [(&ann, "ann", true), (&ben, "ben", false)] {
        let audit = audit(person, "identity.link");
        let hash = code.hash();
        let identity = identity(subject);
        let outcome = store
            .register_identity(person, &identity, Some(&hash), &audit)
            .await;
        assert_eq!(outcome.is_ok(), is_registered, "{outcome:?}");
        let known = store.person_by_email(&person.email).await.unwrap();
        assert_eq!(known.is_some(), is_registered);
    }
}

/// An identity is of one login, a login has one of a provider; and an address is a ground only where it is verified.
pub async fn an_identity_is_linked_on_good_grounds(store: Arc<dyn Store>) {
    let (ann, ben) = (person(&store, Some("a")).await, person(&store, None).await);
    let by_email = audit(&ann, "identity.link");
    let ground = LinkGround::VerifiedEmail(&ann.email);
    let unverified = store
        .link_identity(ann.user, &identity("ann"), ground, &by_email)
        .await;
    assert!(matches!(unverified, Err(StoreError::NotFound { .. })));
    assert_eq!(audited(&store).await, 0);
    link(&store, &ann, &identity("ann")).await.unwrap();
    for (person, subject) in [(&ben, "ann"), (&ann, "other")] {
        let refused = link(&store, person, &identity(subject)).await;
        assert!(matches!(refused, Err(StoreError::Exists { .. })));
    }
    let mut at_another = identity("ann");
    at_another.issuer = "https://other.example".to_owned();
    link(&store, &ann, &at_another).await.unwrap();
    let listed = store.identities(ann.user).await.unwrap();
    let issuers: Vec<_> = listed.iter().map(|identity| &identity.issuer).collect();
    assert_eq!(issuers, [ISSUER, "https://other.example"]);
    assert_eq!(listed[0].email.as_deref(), Some("ann@example.com"));
    assert_eq!(store.identities(ben.user).await.unwrap(), []);
    assert_eq!(audited(&store).await, 2);
    let known = store
        .known_logins(ISSUER, "nobody", Some(&ben.email.to_uppercase()))
        .await
        .unwrap();
    assert_eq!(known.linked, None);
    let of_email = known.of_email.unwrap();
    assert_eq!((of_email.user, of_email.email_verified), (ben.user, false));
}

/// What somebody needs to log in stays, however many are taken at once.
pub async fn the_last_way_to_log_in_stays(store: Arc<dyn Store>) {
    let (with_password, without) = (person(&store, Some("a")).await, person(&store, None).await);
    let only = identity("ann");
    link(&store, &with_password, &only).await.unwrap();
    let strange = unlink(&store, &without, only.id).await;
    assert!(matches!(strange, Err(StoreError::NotFound { .. })));
    unlink(&store, &with_password, only.id).await.unwrap();
    let gone = unlink(&store, &with_password, only.id).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })));

    let (one, mut other) = (identity("ben"), identity("ben"));
    other.issuer = "https://other.example".to_owned();
    for identity in [&one, &other] {
        link(&store, &without, identity).await.unwrap();
    }
    let before = audited(&store).await;
    let taken = join_all([one.id, other.id].map(|id| unlink(&store, &without, id))).await;
    assert_eq!(taken.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(
        taken
            .iter()
            .any(|outcome| matches!(outcome, Err(StoreError::InUse { .. })))
    );
    assert_eq!(store.identities(without.user).await.unwrap().len(), 1);
    assert_eq!(audited(&store).await, before + 1);
}

/// Who is erased is nobody at a provider any more: the identity is free.
pub async fn an_identity_goes_with_who_is_erased(store: Arc<dyn Store>) {
    let (gone, other) = (person(&store, None).await, person(&store, None).await);
    let ann = identity("ann");
    link(&store, &gone, &ann).await.unwrap();
    let erased = store.erase_client(gone.account, &audit(&gone, ERASE)).await;
    assert_eq!(erased.unwrap(), Erased::Yes);
    assert_eq!(store.identities(gone.user).await.unwrap(), []);
    link(&store, &other, &ann).await.unwrap();
}
