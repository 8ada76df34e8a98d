//! Erasing people, and looking in their place.

use std::sync::Arc;

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, Nanos, SessionId};
use uuid::Uuid;

use super::client_admin::entry;
use super::logins::started;
use super::organizations::{founded, invitation, invite, join, person};
use super::world::{START, new_key, new_person};
use crate::audit::{AuditEntry, AuditQuery, AuditRecord, AuditVerification, verify_audit};
use crate::client_admin::{AccountStatus, Booking, ClientQuery};
use crate::clients::{Access, MemberRole, NewPerson, Role};
use crate::erasure::{ERASE, ERASED, Erased};
use crate::ledger::Adjustment;
use crate::logins::{NewImpersonation, SessionEnd};
use crate::{Store, StoreError};

async fn erase(store: &Arc<dyn Store>, account: AccountId) -> Result<Erased, StoreError> {
    store.erase_client(account, &entry(account, ERASE)).await
}

/// What this person did, with the e-mail address and more in it.
fn deed(person: &NewPerson, action: &str) -> AuditEntry {
    AuditEntry {
        actor: person.email.clone(),
        actor_id: Some(person.user),
        after: Some(format!("{{\"email\":\"{}\"}}", person.email)),
        ..entry(person.account, action)
    }
}

async fn log(store: &Arc<dyn Store>) -> Vec<AuditRecord> {
    let query = AuditQuery {
        limit: 1_000,
        ..AuditQuery::default()
    };
    store.search_audit_log(&query).await.unwrap()
}

/// Nothing personal is left: the login, its keys, sessions, memberships and invitations end, the audit log still holds, and
/// the e-mail address is free. Others keep what they have.
pub async fn an_erased_person_leaves_nothing_personal(store: Arc<dyn Store>) {
    let (gone, owner) = (person(&store).await, person(&store).await);
    let organization = founded(&store, &owner).await;
    join(&store, organization, &gone, MemberRole::Member).await;
    let other = founded(&store, &owner).await;
    invite(&store, &invitation(other, &gone.email, MemberRole::Member)).await;
    let session = started(&store, gone.user).await;
    let key = new_key(Vec::new());
    let made = deed(&gone, "key.create");
    store
        .create_client_key(gone.account, &key, &made)
        .await
        .unwrap();
    let owners_key = new_key(Vec::new());
    let told = AuditEntry {
        actor: owner.email.clone(),
        actor_id: Some(owner.user),
        before: Some(format!("met {}", gone.email.to_uppercase())),
        ..entry(owner.account, "key.create")
    };
    store
        .create_client_key(owner.account, &owners_key, &told)
        .await
        .unwrap();
    let before = log(&store).await;

    assert_eq!(erase(&store, gone.account).await.unwrap(), Erased::Yes);
    assert_eq!(store.login(session, START).await.unwrap(), None);
    assert!(store.person_by_email(&gone.email).await.unwrap().is_none());
    let found = store.key_by_hash(&key.hash).await.unwrap().unwrap();
    assert_ne!(found.access, Access::Granted);
    let found = store.key_by_hash(&owners_key.hash).await.unwrap().unwrap();
    assert_eq!(found.access, Access::Granted);
    let members = store.members(organization, None, 100).await.unwrap();
    assert!(members.iter().all(|member| member.person == owner.account));
    let invitations = store.member_invitations(other, None, 100).await.unwrap();
    assert!(invitations.is_empty(), "{invitations:?}");
    let client = store.client(gone.account).await.unwrap().unwrap();
    assert_eq!(
        (client.name.as_str(), client.status),
        (ERASED, AccountStatus::Disabled)
    );
    let search = ClientQuery {
        search: Some(gone.email.clone()),
        limit: 10,
        ..ClientQuery::default()
    };
    assert!(store.list_clients(&search).await.unwrap().is_empty());

    let entries = log(&store).await;
    assert_eq!(entries.len(), before.len() + 1);
    let text = format!("{entries:?}").to_lowercase();
    assert!(!text.contains(&gone.email.to_lowercase()), "{text}");
    assert!(text.contains(&owner.email.to_lowercase()));
    let by_number = i64::try_from(entries.len()).unwrap();
    assert_eq!(
        verify_audit(&*store).await.unwrap(),
        AuditVerification::Whole(by_number)
    );

    // Neither again nor back; the address is somebody else's now.
    assert_eq!(erase(&store, gone.account).await.unwrap(), Erased::NoPerson);
    let enable = entry(gone.account, "client.enable");
    let enabled = store.set_client_status(gone.account, AccountStatus::Active, &enable);
    assert!(matches!(enabled.await, Err(StoreError::NotFound { .. })));
    let newcomer = NewPerson {
        email: gone.email.clone(),
        ..new_person(Payment::Prepaid)
    };
    store.create_person(&newcomer).await.unwrap();
    assert_eq!(erase(&store, newcomer.account).await.unwrap(), Erased::Yes);
    assert!(matches!(
        verify_audit(&*store).await.unwrap(),
        AuditVerification::Whole(_)
    ));
}

/// Who has or owes money, is the only owner of an organization or runs the business is not erased, nor is an organization;
/// and nothing changes.
pub async fn who_has_money_or_an_organization_is_not_erased(store: Arc<dyn Store>) {
    let rich = person(&store).await;
    let book = async |amount: i64| {
        let booking = Booking {
            adjustment: Adjustment {
                account: rich.account,
                amount: Nanos::new(amount),
                reason: "a test".to_owned(),
                actor: "admin@example.com".to_owned(),
                at: START,
            },
            audit: entry(rich.account, "client.credit"),
            idempotency: None,
        };
        store.book(&booking).await.unwrap();
    };
    book(5).await;
    let left = Erased::BalanceLeft(Nanos::new(5));
    assert_eq!(erase(&store, rich.account).await.unwrap(), left);
    assert!(store.person_by_email(&rich.email).await.unwrap().is_some());

    let owner = person(&store).await;
    let organization = founded(&store, &owner).await;
    assert_eq!(
        erase(&store, owner.account).await.unwrap(),
        Erased::LastOwner
    );
    assert_eq!(erase(&store, organization).await.unwrap(), Erased::NoPerson);
    join(&store, organization, &rich, MemberRole::Owner).await;
    assert_eq!(erase(&store, owner.account).await.unwrap(), Erased::Yes);
    book(-5).await;
    assert_eq!(
        erase(&store, rich.account).await.unwrap(),
        Erased::LastOwner
    );

    let admin = NewPerson {
        role: Role::Admin,
        ..new_person(Payment::Prepaid)
    };
    store.create_person(&admin).await.unwrap();
    assert_eq!(
        erase(&store, admin.account).await.unwrap(),
        Erased::Administrator
    );
    let nobody = erase(&store, AccountId::new(Uuid::now_v7())).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

/// It shows the client's login with the administrator's name, until its end, the administrator's or the client's.
pub async fn an_impersonation_lasts_as_long_as_the_administrator(store: Arc<dyn Store>) {
    let admin = NewPerson {
        role: Role::Admin,
        ..new_person(Payment::Prepaid)
    };
    store.create_person(&admin).await.unwrap();
    let client = person(&store).await;
    let begin = async |session, account| {
        let new = NewImpersonation {
            id: SessionId::new(Uuid::now_v7()),
            account,
            session,
            expires_at: START.plus_seconds(900),
            audit: entry(account, "client.impersonate"),
        };
        store.impersonate(&new).await.map(|()| new.id)
    };
    let session = started(&store, admin.user).await;
    let seen = begin(session, client.account).await.unwrap();
    let login = store.login(seen, START).await.unwrap().unwrap();
    assert_eq!((login.user, login.session), (client.user, seen));
    assert_eq!(login.impersonated_by.as_ref(), Some(&admin.email));
    let own = store.login(session, START).await.unwrap().unwrap();
    assert_eq!((own.user, own.impersonated_by), (admin.user, None));
    assert!(store.sessions(client.user, START).await.unwrap().is_empty());
    let later = START.plus_seconds(900);
    assert_eq!(store.login(seen, later).await.unwrap(), None);

    // No administrator, and nobody who is disabled.
    let refused = begin(session, admin.account).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    let disable = entry(client.account, "client.disable");
    let disabled = store.set_client_status(client.account, AccountStatus::Disabled, &disable);
    disabled.await.unwrap();
    assert_eq!(store.login(seen, START).await.unwrap(), None);
    let refused = begin(session, client.account).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));

    let client = person(&store).await;
    let seen = begin(session, client.account).await.unwrap();
    assert!(store.login(seen, START).await.unwrap().is_some());
    let ended = store.end_session(admin.user, session, SessionEnd::Logout, START);
    ended.await.unwrap();
    assert_eq!(store.login(seen, START).await.unwrap(), None);
}
