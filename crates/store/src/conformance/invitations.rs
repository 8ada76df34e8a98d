//! Invitations to register.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use airouter_billing::AccountId;
use airouter_billing::event::Payment;
use futures_util::future::join_all;
use uuid::Uuid;

use super::client_admin::entry;
use super::world::{START, new_person};
use crate::invitations::NewInvitation;
use crate::{Store, StoreError};

fn code() -> OpaqueToken {
    OpaqueToken::generate(OpaqueKind::Invitation).unwrap()
}

async fn invited(store: &Arc<dyn Store>, email: Option<&str>) -> (NewInvitation, OpaqueToken) {
    let code = code();
    let invitation = NewInvitation {
        id: Uuid::now_v7(),
        code: code.hash(),
        email: email.map(str::to_owned),
        expires_at: START.plus_seconds(60),
        at: START,
    };
    let entry = entry(AccountId::new(invitation.id), "invitation.create");
    store.invite(&invitation, &entry).await.unwrap();
    (invitation, code)
}

/// Of many with one invitation one registers, and nothing is left of the others.
pub async fn an_invitation_is_used_once(store: Arc<dyn Store>) {
    let (invitation, code) = invited(&store, None).await;
    let people: Vec<_> = (0..8).map(|_| new_person(Payment::Prepaid)).collect();
    let hash = code.hash();
    let registered = join_all(
        people
            .iter()
            .map(|person| store.register_invited(person, &hash)),
    )
    .await;
    let mut found = Vec::new();
    for (person, outcome) in people.iter().zip(registered) {
        let known = store.person_by_email(&person.email).await.unwrap();
        match outcome {
            Ok(()) => found.push(known.unwrap().user),
            Err(StoreError::NotFound { .. }) => assert_eq!(known, None),
            Err(error) => panic!("{error}"),
        }
    }
    let [listed] = store
        .invitations(None, 10)
        .await
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(listed.id, invitation.id);
    assert_eq!(
        listed.used.map(|(at, user)| (at, vec![user])),
        Some((START, found))
    );
    let after = store.invitations(Some(invitation.id), 10).await.unwrap();
    assert_eq!(after, []);
}

/// One that is for another address, expired, revoked or unknown; and one whose person exists is not used up.
pub async fn an_invitation_that_does_not_hold_registers_nobody(store: Arc<dyn Store>) {
    let (_, for_ann) = invited(&store, Some("ann@example.com")).await;
    let (revoked, revoked_code) = invited(&store, None).await;
    let revoke = entry(AccountId::new(revoked.id), "invitation.revoke");
    store.revoke_invitation(revoked.id, &revoke).await.unwrap();
    store.revoke_invitation(revoked.id, &revoke).await.unwrap();
    let unknown = store.revoke_invitation(Uuid::now_v7(), &revoke).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
    let (_, lasting) = invited(&store, None).await;
    let mut late = new_person(Payment::Prepaid);
    late.at = START.plus_seconds(60);
    let person = new_person(Payment::Prepaid);
    for (person, code) in [
        (&person, &for_ann),
        (&person, &revoked_code),
        (&late, &lasting),
        (&person, &code()),
    ] {
        let refused = store.register_invited(person, &code.hash()).await;
        assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    }
    let mut ann = new_person(Payment::Prepaid);
    ann.email = "Ann@Example.com".to_owned();
    store.create_person(&ann).await.unwrap();
    let mut again = new_person(Payment::Prepaid);
    again.email.clone_from(&ann.email);
    let exists = store.register_invited(&again, &for_ann.hash()).await;
    assert!(matches!(exists, Err(StoreError::Exists { .. })));
    let open = store.invitations(None, 10).await.unwrap();
    assert!(open.iter().all(|invitation| invitation.used.is_none()));
    assert_eq!(
        open.iter()
            .filter(|invitation| invitation.revoked_at.is_some())
            .count(),
        1
    );
}
