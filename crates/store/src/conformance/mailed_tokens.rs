//! Tokens that are mailed as links.

use std::sync::Arc;

use airouter_auth::OpaqueToken;
use airouter_billing::Timestamp;
use airouter_billing::event::Payment;
use futures_util::future::join_all;

use super::client_admin::entry;
use super::logins::{person, started};
use super::world::{START, new_person};
use crate::client_admin::AccountStatus;
use crate::clients::NewPerson;
use crate::erasure::{ERASE, Erased};
use crate::mailed_tokens::{MOST_MAILED_TOKENS, MailedKind, NewMailedToken, Presented};
use crate::{Store, StoreError};

const NEW: &str = "$argon2id$new";

async fn mailed_at(
    store: &Arc<dyn Store>,
    email: &str,
    kind: MailedKind,
    at: Timestamp,
) -> OpaqueToken {
    let token = OpaqueToken::generate(kind.opaque()).unwrap();
    let new = NewMailedToken {
        kind,
        token: token.hash(),
        at,
    };
    store.keep_mailed_token(email, &new).await.unwrap();
    token
}

async fn mailed(store: &Arc<dyn Store>, email: &str, kind: MailedKind) -> OpaqueToken {
    mailed_at(store, email, kind, START).await
}

fn presented(token: &OpaqueToken, at: Timestamp) -> Presented {
    Presented {
        token: token.hash(),
        address: Some("192.0.2.1".to_owned()),
        at,
    }
}

async fn reset(store: &Arc<dyn Store>, token: &OpaqueToken, at: Timestamp) -> bool {
    match store.reset_password(&presented(token, at), NEW).await {
        Ok(()) => true,
        Err(StoreError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn verify(store: &Arc<dyn Store>, token: &OpaqueToken, at: Timestamp) -> bool {
    match store.verify_email(&presented(token, at)).await {
        Ok(()) => true,
        Err(StoreError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn is_verified(store: &Arc<dyn Store>, user: airouter_billing::UserId) -> bool {
    let session = started(store, user).await;
    let login = store.login(session, START).await.unwrap();
    login.unwrap().email_verified
}

/// Of many who present a token one succeeds; it is good for its own purpose, and until it expires.
pub async fn a_mailed_token_is_used_once(store: Arc<dyn Store>) {
    let person = person(&store).await;
    for (kind, seconds) in [
        (MailedKind::VerifyEmail, 3 * 24 * 3600),
        (MailedKind::ResetPassword, 3600),
    ] {
        let token = mailed(&store, &person.email, kind).await;
        assert!(!is_verified(&store, person.user).await || kind != MailedKind::VerifyEmail);
        let late = START.plus_seconds(seconds);
        match kind {
            MailedKind::VerifyEmail => {
                assert!(!reset(&store, &token, START).await);
                assert!(!verify(&store, &token, late).await);
            }
            MailedKind::ResetPassword => {
                assert!(!verify(&store, &token, START).await);
                assert!(!reset(&store, &token, late).await);
            }
        }
        let just_in_time = late.plus_seconds(-1);
        let used = join_all((0..8).map(|_| async {
            match kind {
                MailedKind::VerifyEmail => verify(&store, &token, just_in_time).await,
                MailedKind::ResetPassword => reset(&store, &token, just_in_time).await,
            }
        }));
        assert_eq!(used.await.into_iter().filter(|used| *used).count(), 1);
        assert!(is_verified(&store, person.user).await);
    }
    let log = store.audit_log(0, 10).await.unwrap();
    let told: Vec<_> = log.iter().map(|record| &record.entry).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (entry, action) in told
        .iter()
        .zip(["login.verify_email", "login.reset_password"])
    {
        assert_eq!(
            (&entry.actor, entry.action.as_str()),
            (&person.email, action)
        );
        assert_eq!(entry.actor_id, Some(person.user));
        assert_eq!(entry.subject, person.account.get());
        assert_eq!(entry.address.as_deref(), Some("192.0.2.1"));
    }
}

/// It is told to whom a token is to be mailed, by the address as it is stored; what was kept for nobody is good for nothing.
pub async fn a_mailed_token_is_for_its_address(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let kind = MailedKind::ResetPassword;
    let token = OpaqueToken::generate(kind.opaque()).unwrap();
    let new = NewMailedToken {
        kind,
        token: token.hash(),
        at: START,
    };
    let shouted = person.email.to_uppercase();
    let recipient = store.keep_mailed_token(&shouted, &new).await.unwrap();
    let recipient = recipient.unwrap();
    assert_eq!(
        (&recipient.email, &recipient.name),
        (&person.email, &person.name)
    );
    assert_eq!(recipient.user, person.user);
    for nobody in ["nobody@example.com", "", "a\0@example.com"] {
        let token = OpaqueToken::generate(kind.opaque()).unwrap();
        let new = NewMailedToken {
            token: token.hash(),
            ..new
        };
        assert_eq!(store.keep_mailed_token(nobody, &new).await.unwrap(), None);
        assert!(!reset(&store, &token, START).await);
    }
    // Somebody who registers with that address later is somebody else.
    let early = mailed(&store, "late@example.com", kind).await;
    let mut late = super::world::new_person(airouter_billing::event::Payment::Prepaid);
    late.email = "late@example.com".to_owned();
    store.create_person(&late).await.unwrap();
    assert!(!reset(&store, &early, START).await);
    assert!(reset(&store, &token, START).await);
}

/// A reset sets the password, ends every session, and voids all that was mailed; others' sessions and tokens stay.
pub async fn a_reset_ends_all_sessions_and_tokens(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let other = super::logins::person(&store).await;
    let sessions = [
        started(&store, person.user).await,
        started(&store, person.user).await,
    ];
    let others = started(&store, other.user).await;
    let verification = mailed(&store, &person.email, MailedKind::VerifyEmail).await;
    let first = mailed(&store, &person.email, MailedKind::ResetPassword).await;
    let second = mailed(&store, &person.email, MailedKind::ResetPassword).await;
    let of_other = mailed(&store, &other.email, MailedKind::ResetPassword).await;
    assert!(reset(&store, &second, START).await);
    let found = store.credentials(&person.email).await.unwrap().unwrap();
    assert_eq!(found.password_hash.as_deref(), Some(NEW));
    for session in sessions {
        assert!(store.login(session, START).await.unwrap().is_none());
    }
    assert!(store.login(others, START).await.unwrap().is_some());
    assert!(!reset(&store, &first, START).await);
    assert!(!verify(&store, &verification, START).await);
    // So does a change of the password void what was mailed to reset it.
    let here = started(&store, other.user).await;
    let audit = entry(other.account, "login.change_password");
    let changed = store.change_password(other.user, "$argon2id$old", NEW, here, &audit);
    changed.await.unwrap();
    assert!(!reset(&store, &of_other, START).await);
}

/// Whoever is disabled gets no token, and one that was mailed before does nothing.
pub async fn nobody_who_is_disabled_gets_or_uses_a_token(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let set = async |status| {
        let audit = entry(person.account, "client.disable");
        let set = store.set_client_status(person.account, status, &audit);
        set.await.unwrap();
    };
    let before = mailed(&store, &person.email, MailedKind::ResetPassword).await;
    let verification = mailed(&store, &person.email, MailedKind::VerifyEmail).await;
    set(AccountStatus::Disabled).await;
    assert!(!reset(&store, &before, START).await);
    assert!(!verify(&store, &verification, START).await);
    let meanwhile = mailed(&store, &person.email, MailedKind::ResetPassword).await;
    set(AccountStatus::Active).await;
    assert!(!reset(&store, &meanwhile, START).await);
    assert!(reset(&store, &before, START).await);
}

/// What was mailed to somebody who is erased is good for nobody, not even for who has the address afterwards.
pub async fn mailed_tokens_go_with_who_is_erased(store: Arc<dyn Store>) {
    let gone = person(&store).await;
    let verification = mailed(&store, &gone.email, MailedKind::VerifyEmail).await;
    let password = mailed(&store, &gone.email, MailedKind::ResetPassword).await;
    let audit = entry(gone.account, ERASE);
    let erased = store.erase_client(gone.account, &audit).await.unwrap();
    assert_eq!(erased, Erased::Yes);
    let newcomer = NewPerson {
        email: gone.email,
        ..new_person(Payment::Prepaid)
    };
    store.create_person(&newcomer).await.unwrap();
    assert!(!verify(&store, &verification, START).await);
    assert!(!reset(&store, &password, START).await);
}

/// Only so many are open for an address, the latest; of each kind by itself.
pub async fn mailed_tokens_are_bounded(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let verification = mailed(&store, &person.email, MailedKind::VerifyEmail).await;
    let mut tokens = Vec::new();
    for second in 0..=MOST_MAILED_TOKENS {
        let at = START.plus_seconds(second);
        tokens.push(mailed_at(&store, &person.email, MailedKind::ResetPassword, at).await);
    }
    let now = START.plus_seconds(MOST_MAILED_TOKENS);
    assert!(!reset(&store, &tokens[0], now).await);
    assert!(verify(&store, &verification, now).await);
    assert!(reset(&store, &tokens[1], now).await);
}
