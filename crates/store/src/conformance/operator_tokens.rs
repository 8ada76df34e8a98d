//! Operator tokens.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use airouter_billing::event::Payment;
use airouter_billing::{AccountId, UserId};
use uuid::Uuid;

use super::client_admin::entry;
use super::world::{START, new_person};
use crate::client_admin::AccountStatus;
use crate::clients::{NewPerson, Role};
use crate::operator_tokens::{NewOperatorToken, Scope, Scopes, USE_NOTED_SECONDS};
use crate::{Store, StoreError};

async fn admin(store: &Arc<dyn Store>) -> NewPerson {
    let mut admin = new_person(Payment::Prepaid);
    admin.role = Role::Admin;
    store.create_person(&admin).await.unwrap();
    admin
}

async fn token(store: &Arc<dyn Store>, maker: UserId) -> NewOperatorToken {
    let token = OpaqueToken::generate(OpaqueKind::Operator).unwrap();
    let new = NewOperatorToken {
        id: Uuid::now_v7(),
        name: "a script".to_owned(),
        preview: token.preview(),
        hash: token.hash(),
        scopes: Scopes::from_iter([Scope::MoneyWrite, Scope::ClientsRead]),
        maker,
        expires_at: START.plus_seconds(3600),
        at: START,
    };
    let entry = entry(AccountId::new(new.id), "operator_token.create");
    store.create_operator_token(&new, &entry).await.unwrap();
    new
}

/// A token says what it may do and who made it, until it expires or is revoked, and while its maker is an active
/// administrator.
pub async fn an_operator_token_holds_until_it_ends(store: Arc<dyn Store>) {
    let admin = admin(&store).await;
    let new = token(&store, admin.user).await;
    let found = async |at| store.operator_token(&new.hash, at).await.unwrap();
    let token = found(START).await.unwrap();
    assert_eq!(
        (token.id, &token.name, &token.scopes),
        (new.id, &new.name, &new.scopes)
    );
    assert_eq!((token.maker, token.account), (admin.user, admin.account));
    assert_eq!(token.email, admin.email);
    assert!(found(START.plus_seconds(3599)).await.is_some());
    assert!(found(START.plus_seconds(3600)).await.is_none());
    for (status, holds) in [
        (AccountStatus::Disabled, false),
        (AccountStatus::Active, true),
    ] {
        let entry = entry(admin.account, "client.disable");
        store
            .set_client_status(admin.account, status, &entry)
            .await
            .unwrap();
        assert_eq!(found(START).await.is_some(), holds);
    }
    let revoke = entry(AccountId::new(new.id), "operator_token.revoke");
    store.revoke_operator_token(new.id, &revoke).await.unwrap();
    assert!(found(START).await.is_none());
    let unknown = store.revoke_operator_token(Uuid::now_v7(), &revoke).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
    let client = new_person(Payment::Prepaid);
    store.create_person(&client).await.unwrap();
    let clients = self::token(&store, client.user).await;
    assert_eq!(
        store.operator_token(&clients.hash, START).await.unwrap(),
        None
    );
}

/// Tokens are listed, revoked ones too; their use is noted once a minute at most.
pub async fn operator_tokens_are_listed_and_their_use_is_noted(store: Arc<dyn Store>) {
    let admin = admin(&store).await;
    let first = token(&store, admin.user).await;
    let second = token(&store, admin.user).await;
    let revoke = entry(AccountId::new(second.id), "operator_token.revoke");
    store
        .revoke_operator_token(second.id, &revoke)
        .await
        .unwrap();
    store
        .revoke_operator_token(second.id, &revoke)
        .await
        .unwrap();
    let listed = async |after| store.operator_tokens(after, 10).await.unwrap();
    let [one, two] = listed(None).await.try_into().unwrap();
    assert_eq!(
        (one.id, one.maker, one.scopes),
        (first.id, admin.email, first.scopes.clone())
    );
    assert_eq!((one.last_used_at, one.revoked_at), (None, None));
    assert_eq!((two.id, two.revoked_at), (second.id, Some(START)));
    assert_eq!(listed(Some(first.id)).await.len(), 1);
    for (after, noted) in [
        (0, 0),
        (USE_NOTED_SECONDS - 1, 0),
        (USE_NOTED_SECONDS, USE_NOTED_SECONDS),
    ] {
        let used = store
            .operator_token(&first.hash, START.plus_seconds(after))
            .await;
        assert!(used.unwrap().is_some());
        let listed = listed(None).await;
        assert_eq!(listed[0].last_used_at, Some(START.plus_seconds(noted)));
    }
}
