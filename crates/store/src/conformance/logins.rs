//! Logins and their sessions.

use std::sync::Arc;

use airouter_auth::RefreshToken;
use airouter_billing::event::Payment;
use airouter_billing::{SessionId, Timestamp, UserId};
use uuid::Uuid;

use super::client_admin::entry;
use super::world::{START, new_person};
use crate::clients::{NewPerson, Role};
use crate::logins::{
    Login, MOST_SESSIONS, NewSession, Refresh, Refreshed, SESSION_KEPT_SECONDS, SessionEnd,
};
use crate::{Store, StoreError};

const WEEK: i64 = 7 * 24 * 3600;

/// A person who may log in with a password.
pub(super) async fn person(store: &Arc<dyn Store>) -> NewPerson {
    let mut person = new_person(Payment::Prepaid);
    person.password_hash = Some("$argon2id$old".to_owned());
    store.create_person(&person).await.unwrap();
    person
}

fn session_at(user: UserId, at: Timestamp) -> (NewSession, RefreshToken) {
    let id = SessionId::new(Uuid::now_v7());
    let token = RefreshToken::generate(id.get()).unwrap();
    let session = NewSession {
        id,
        user,
        password_hash: None,
        refresh: token.hash(),
        expires_at: at.plus_seconds(WEEK),
        address: Some("192.0.2.1".to_owned()),
        user_agent: Some("a\0test".to_owned()),
        at,
    };
    (session, token)
}

async fn start(store: &Arc<dyn Store>, user: UserId) -> (Login, RefreshToken) {
    let (session, token) = session_at(user, START);
    (store.start_session(&session).await.unwrap(), token)
}

/// A session that has just been started.
pub(super) async fn started(store: &Arc<dyn Store>, user: UserId) -> SessionId {
    start(store, user).await.0.session
}

fn exchange(presented: &RefreshToken, next: &RefreshToken, at: Timestamp) -> Refresh {
    Refresh {
        session: SessionId::new(presented.session()),
        presented: presented.hash(),
        next: next.hash(),
        expires_at: at.plus_seconds(WEEK),
        at,
    }
}

/// What a password is compared with is found by the e-mail address, whatever its case, and replaced only where it is still
/// the one that was compared.
pub async fn credentials_are_found_by_email(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let found = store.credentials(&person.email.to_uppercase()).await;
    let found = found.unwrap().unwrap();
    assert_eq!(found.user, person.user);
    assert_eq!(found.password_hash, person.password_hash);
    assert!(found.is_active);
    for nobody in ["nobody@example.com", "", "a\0@example.com"] {
        assert!(store.credentials(nobody).await.unwrap().is_none());
    }
    let upgrade = async |before, after| {
        let upgraded = store
            .upgrade_password_hash(person.user, before, after)
            .await;
        upgraded.unwrap();
        let found = store.credentials(&person.email).await.unwrap().unwrap();
        found.password_hash.unwrap()
    };
    assert_eq!(upgrade("another", "$argon2id$no").await, "$argon2id$old");
    assert_eq!(
        upgrade("$argon2id$old", "$argon2id$new").await,
        "$argon2id$new"
    );
}

/// A session says who has logged in, until it expires or is ended; others can't end it.
pub async fn a_session_goes_on_until_it_ends(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let other = self::person(&store).await;
    let (login, _) = start(&store, person.user).await;
    assert_eq!((login.user, login.account), (person.user, person.account));
    assert_eq!((&login.email, &login.name), (&person.email, &person.name));
    assert_eq!(
        (login.role, login.payment),
        (Role::Client, Payment::Prepaid)
    );
    assert!(!login.email_verified);
    assert_eq!(login.created_at, START);
    let found = async |at| store.login(login.session, at).await.unwrap();
    assert_eq!(found(START).await, Some(login.clone()));
    assert!(found(START.plus_seconds(WEEK - 1)).await.is_some());
    assert!(found(START.plus_seconds(WEEK)).await.is_none());
    let end = async |user| {
        store
            .end_session(user, login.session, SessionEnd::Logout, START)
            .await
    };
    assert!(matches!(
        end(other.user).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(found(START).await.is_some());
    end(person.user).await.unwrap();
    assert!(found(START).await.is_none());
    assert!(matches!(
        end(person.user).await,
        Err(StoreError::NotFound { .. })
    ));
    let nobody = session_at(UserId::new(Uuid::now_v7()), START).0;
    assert!(matches!(
        store.start_session(&nobody).await,
        Err(StoreError::NotFound { .. })
    ));
}

/// A refresh token is good for once; the session goes on with the next one.
pub async fn a_refresh_token_is_exchanged_once(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let (login, first) = start(&store, person.user).await;
    let second = RefreshToken::generate(first.session()).unwrap();
    let third = RefreshToken::generate(first.session()).unwrap();
    let later = START.plus_seconds(WEEK - 1);
    let refresh = async |refresh| store.refresh_session(&refresh).await.unwrap();
    let refreshed = refresh(exchange(&first, &second, later)).await;
    assert_eq!(refreshed, Refreshed::Yes(Box::new(login.clone())));
    // It goes on beyond its first end.
    let beyond = later.plus_seconds(WEEK - 1);
    assert!(store.login(login.session, beyond).await.unwrap().is_some());
    let refreshed = refresh(exchange(&second, &third, beyond)).await;
    assert!(matches!(refreshed, Refreshed::Yes(_)));
    let too_late = exchange(&third, &second, beyond.plus_seconds(WEEK));
    assert_eq!(refresh(too_late).await, Refreshed::No);
    let unknown = RefreshToken::generate(Uuid::now_v7()).unwrap();
    assert_eq!(
        refresh(exchange(&unknown, &second, START)).await,
        Refreshed::No
    );
}

/// A refresh token that comes back ends its session, and with it the one that took its place.
pub async fn a_used_refresh_token_ends_its_session(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let (login, first) = start(&store, person.user).await;
    let (other, _) = start(&store, person.user).await;
    let second = RefreshToken::generate(first.session()).unwrap();
    let third = RefreshToken::generate(first.session()).unwrap();
    let refresh = async |refresh| store.refresh_session(&refresh).await.unwrap();
    refresh(exchange(&first, &second, START)).await;
    assert_eq!(
        refresh(exchange(&first, &third, START)).await,
        Refreshed::Reused
    );
    assert!(store.login(login.session, START).await.unwrap().is_none());
    assert_eq!(
        refresh(exchange(&second, &third, START)).await,
        Refreshed::No
    );
    // The user's other sessions go on.
    assert!(store.login(other.session, START).await.unwrap().is_some());
}

/// Of many who present the same refresh token at the same time one succeeds at most, and the session ends.
pub async fn a_refresh_token_is_exchanged_by_one_of_many(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let (login, first) = start(&store, person.user).await;
    let attempts = (0..8).map(|_| {
        let next = RefreshToken::generate(first.session()).unwrap();
        let (store, refresh) = (Arc::clone(&store), exchange(&first, &next, START));
        async move { store.refresh_session(&refresh).await.unwrap() }
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    let succeeded = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Refreshed::Yes(_)));
    assert_eq!(succeeded.count(), 1);
    assert!(outcomes.contains(&Refreshed::Reused));
    assert!(store.login(login.session, START).await.unwrap().is_none());
}

/// A session that a password has proved starts only while it is the user's.
pub async fn a_session_starts_with_the_password_of_now(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let start = async |hash: &str| {
        let (mut session, _) = session_at(person.user, START);
        session.password_hash = Some(hash.to_owned());
        store.start_session(&session).await
    };
    start("$argon2id$old").await.unwrap();
    let refused = start("$argon2id$older").await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    assert_eq!(store.sessions(person.user, START).await.unwrap().len(), 1);
}

/// A password is changed from what it was, and the user's other sessions end; others' go on.
pub async fn a_changed_password_ends_other_sessions(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let other = self::person(&store).await;
    let here = started(&store, person.user).await;
    let there = started(&store, person.user).await;
    let others = started(&store, other.user).await;
    let audit = entry(person.account, "login.change_password");
    let change = async |before, after| {
        store
            .change_password(person.user, before, after, here, &audit)
            .await
    };
    let refused = change("$argon2id$older", "$argon2id$no").await;
    assert!(matches!(refused, Err(StoreError::ChangedMeanwhile)));
    change("$argon2id$old", "$argon2id$new").await.unwrap();
    let found = store.credentials(&person.email).await.unwrap().unwrap();
    assert_eq!(found.password_hash.as_deref(), Some("$argon2id$new"));
    let goes_on = async |session| store.login(session, START).await.unwrap().is_some();
    assert!(goes_on(here).await && goes_on(others).await);
    assert!(!goes_on(there).await);
    let log = store.audit_log(0, 10).await.unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].entry, audit);
}

/// A user's sessions are listed, the latest first, and are bounded in number; old ones are forgotten.
pub async fn sessions_are_listed_and_bounded(store: Arc<dyn Store>) {
    let person = person(&store).await;
    let (oldest, _) = start(&store, person.user).await;
    for second in 1..=MOST_SESSIONS {
        let (session, _) = session_at(person.user, START.plus_seconds(second));
        store.start_session(&session).await.unwrap();
    }
    let now = START.plus_seconds(MOST_SESSIONS);
    let sessions = store.sessions(person.user, now).await.unwrap();
    assert_eq!(i64::try_from(sessions.len()).unwrap(), MOST_SESSIONS);
    assert!(sessions.is_sorted_by(|a, b| a.created_at > b.created_at));
    assert!(sessions.iter().all(|session| session.id != oldest.session));
    assert!(store.login(oldest.session, now).await.unwrap().is_none());
    assert_eq!(sessions[0].created_at, now);
    assert_eq!(sessions[0].address.as_deref(), Some("192.0.2.1"));
    // Long after they have all expired, one that is started is the only one left.
    let much_later = now.plus_seconds(WEEK + SESSION_KEPT_SECONDS + 1);
    let (session, _) = session_at(person.user, much_later);
    store.start_session(&session).await.unwrap();
    let sessions = store.sessions(person.user, much_later).await.unwrap();
    assert_eq!(sessions.len(), 1);
}
