//! Second factors of logins.

use std::sync::Arc;

use airouter_auth::{RecoveryCode, SealedSecret, TimeStep, TotpSecret};
use airouter_billing::UserId;
use futures_util::future::join_all;

use super::client_admin::entry;
use super::logins::person;
use super::world::START;
use crate::clients::NewPerson;
use crate::erasure::{ERASE, Erased};
use crate::second_factors::{ConfirmedFactor, FactorState};
use crate::{Store, StoreError};

fn secret(byte: u8) -> SealedSecret {
    SealedSecret::from_bytes(vec![byte; 50])
}

/// The step of so many half minutes since 1970.
fn step(number: i64) -> TimeStep {
    let secret = TotpSecret::generate().unwrap();
    let seconds = number * 30;
    let step = secret.step_of(&secret.code_at(seconds), seconds);
    step.unwrap()
}

async fn begin(store: &Arc<dyn Store>, user: UserId, byte: u8) -> Result<(), StoreError> {
    store.begin_second_factor(user, &secret(byte), START).await
}

async fn confirm(
    store: &Arc<dyn Store>,
    person: &NewPerson,
    byte: u8,
    codes: &[RecoveryCode],
) -> Result<(), StoreError> {
    let factor = ConfirmedFactor {
        user: person.user,
        secret: secret(byte),
        step: step(100),
        recovery_codes: codes.iter().map(RecoveryCode::hash).collect(),
    };
    let audit = entry(person.account, "login.second_factor_on");
    store.confirm_second_factor(&factor, &audit).await
}

/// A person with a second factor and two recovery codes.
async fn protected(store: &Arc<dyn Store>) -> (NewPerson, [RecoveryCode; 2]) {
    let person = person(store).await;
    let codes = [(); 2].map(|()| RecoveryCode::generate().unwrap());
    begin(store, person.user, 1).await.unwrap();
    confirm(store, &person, 1, &codes).await.unwrap();
    (person, codes)
}

async fn state(store: &Arc<dyn Store>, user: UserId) -> Option<FactorState> {
    let found = store.second_factor(user).await.unwrap();
    found.map(|factor| factor.state)
}

const fn on(recovery_codes: i64) -> Option<FactorState> {
    Some(FactorState::On {
        since: START,
        recovery_codes,
    })
}

/// It is begun as often as one likes, and confirmed with what was begun last.
pub async fn a_second_factor_is_begun_and_confirmed(store: Arc<dyn Store>) {
    let person = person(&store).await;
    assert_eq!(store.second_factor(person.user).await.unwrap(), None);
    let codes = [RecoveryCode::generate().unwrap()];
    let nothing = confirm(&store, &person, 1, &codes).await;
    assert!(matches!(nothing, Err(StoreError::NotFound { .. })));
    begin(&store, person.user, 1).await.unwrap();
    begin(&store, person.user, 2).await.unwrap();
    let found = store.second_factor(person.user).await.unwrap().unwrap();
    assert_eq!(found.state, FactorState::Pending);
    assert_eq!(found.secret, secret(2));
    // While it is pending, nothing of it is good.
    assert!(!store.use_time_step(person.user, step(1)).await.unwrap());
    let earlier = confirm(&store, &person, 1, &codes).await;
    assert!(matches!(earlier, Err(StoreError::NotFound { .. })));
    confirm(&store, &person, 2, &codes).await.unwrap();
    assert_eq!(state(&store, person.user).await, on(1));
    let anew = begin(&store, person.user, 3).await;
    assert!(matches!(anew, Err(StoreError::Exists { .. })));
    let again = confirm(&store, &person, 2, &codes).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
    assert_eq!(store.audit_log(0, 10).await.unwrap().len(), 1);
}

/// Of many that come with a code at once one is let in; the code of the confirmation and earlier ones are not good.
pub async fn a_time_step_is_used_once(store: Arc<dyn Store>) {
    let (person, _) = protected(&store).await;
    let (other, _) = protected(&store).await;
    let used = async |number| {
        store
            .use_time_step(person.user, step(number))
            .await
            .unwrap()
    };
    for (number, good) in [
        (99, false),
        (100, false),
        (102, true),
        (101, false),
        (102, false),
    ] {
        assert_eq!(used(number).await, good, "{number}");
    }
    let many = join_all((0..8).map(|_| used(103))).await;
    assert_eq!(many.into_iter().filter(|used| *used).count(), 1);
    // Others' codes are their own.
    assert!(store.use_time_step(other.user, step(101)).await.unwrap());
    let nobody = UserId::new(uuid::Uuid::now_v7());
    assert!(!store.use_time_step(nobody, step(200)).await.unwrap());
}

/// A recovery code is good once, for its owner; new ones take the place of all others.
pub async fn a_recovery_code_is_used_once(store: Arc<dyn Store>) {
    let (person, [first, second]) = protected(&store).await;
    let (other, _) = protected(&store).await;
    let written = store.audit_log(0, 20).await.unwrap().len();
    let audit = entry(person.account, "login.recovery_code_used");
    let use_code = async |user, code: &RecoveryCode| {
        store
            .use_recovery_code(user, &code.hash(), &audit)
            .await
            .unwrap()
    };
    assert!(!use_code(other.user, &first).await);
    let many = join_all((0..8).map(|_| use_code(person.user, &first))).await;
    assert_eq!(many.into_iter().filter(|used| *used).count(), 1);
    assert_eq!(state(&store, person.user).await, on(1));
    assert_eq!(store.audit_log(0, 20).await.unwrap().len(), written + 1);

    let new = [(); 3].map(|()| RecoveryCode::generate().unwrap());
    let hashes = new.each_ref().map(RecoveryCode::hash);
    let replace = async |user| {
        let audit = entry(person.account, "login.new_recovery_codes");
        store.replace_recovery_codes(user, &hashes, &audit).await
    };
    replace(person.user).await.unwrap();
    assert_eq!(state(&store, person.user).await, on(3));
    assert!(!use_code(person.user, &second).await);
    assert!(use_code(person.user, &new[0]).await);
    let unprotected = super::logins::person(&store).await;
    let none = replace(unprotected.user).await;
    assert!(matches!(none, Err(StoreError::NotFound { .. })));
    begin(&store, unprotected.user, 1).await.unwrap();
    let pending = replace(unprotected.user).await;
    assert!(matches!(pending, Err(StoreError::NotFound { .. })));
}

/// A second factor goes with its recovery codes, and another one begins anew.
pub async fn a_second_factor_is_removed(store: Arc<dyn Store>) {
    let (person, [code, _]) = protected(&store).await;
    let audit = entry(person.account, "login.second_factor_off");
    let remove = async || store.remove_second_factor(person.user, &audit).await;
    remove().await.unwrap();
    assert_eq!(state(&store, person.user).await, None);
    let again = remove().await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
    let hash = code.hash();
    let used = store.use_recovery_code(person.user, &hash, &audit);
    assert!(!used.await.unwrap());
    begin(&store, person.user, 2).await.unwrap();
    confirm(&store, &person, 2, &[]).await.unwrap();
    assert_eq!(state(&store, person.user).await, on(0));
}

/// Nothing is left of the second factor of somebody who is erased.
pub async fn a_second_factor_goes_with_who_is_erased(store: Arc<dyn Store>) {
    let (gone, _) = protected(&store).await;
    let audit = entry(gone.account, ERASE);
    let erased = store.erase_client(gone.account, &audit).await.unwrap();
    assert_eq!(erased, Erased::Yes);
    assert_eq!(state(&store, gone.user).await, None);
}
