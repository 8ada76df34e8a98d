//! Clients as the operator sees and changes them, and the audit log.

use std::sync::Arc;

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, Nanos};
use uuid::Uuid;

use super::world::{Client, ENTRIES, START, World, new_person};
use crate::audit::{AuditEntry, AuditVerification, verify_audit};
use crate::client_admin::{
    AccountStatus, BOOKING_KEPT_SECONDS, Booked, BookedAdjustment, Booking, Changed, ClientQuery,
    IdempotencyKey,
};
use crate::clients::{Access, NewPerson};
use crate::ledger::Adjustment;
use crate::{Store, StoreError};

pub(super) fn entry(account: AccountId, action: &str) -> AuditEntry {
    AuditEntry {
        actor: "admin@example.com".to_owned(),
        actor_id: None,
        address: Some("192.0.2.1".to_owned()),
        action: action.to_owned(),
        subject: account.get(),
        reason: Some("a test".to_owned()),
        before: None,
        after: None,
        at: START,
    }
}

fn booking(account: AccountId, amount: i64) -> Booking {
    Booking {
        adjustment: Adjustment {
            account,
            amount: Nanos::new(amount),
            reason: "a test".to_owned(),
            actor: "admin@example.com".to_owned(),
            at: START,
        },
        audit: entry(account, "client.credit"),
        idempotency: None,
    }
}

fn keyed(account: AccountId, amount: i64, admin: &NewPerson, key: &str) -> Booking {
    let mut booking = booking(account, amount);
    booking.idempotency = Some(IdempotencyKey {
        user: admin.user,
        key: key.to_owned(),
        request: [u8::try_from(amount).unwrap(); 32],
    });
    booking
}

fn booked(outcome: Booked) -> BookedAdjustment {
    match outcome {
        Booked::Yes(booked) => booked,
        other => panic!("{other:?}"),
    }
}

async fn admin(store: &Arc<dyn Store>) -> NewPerson {
    let admin = new_person(Payment::Prepaid);
    store.create_person(&admin).await.unwrap();
    admin
}

/// Accounts are listed in pages and found by what is in their names and addresses.
pub async fn clients_are_listed_and_found(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for name in ["Ada Lovelace", "Bob", "ADAM"] {
        let mut person = new_person(Payment::Prepaid);
        name.clone_into(&mut person.name);
        person.tier = Some("free".to_owned());
        store.create_person(&person).await.unwrap();
        ids.push((person.account, person.email));
    }
    let find = async |search: Option<&str>, after, limit| {
        let query = ClientQuery {
            search: search.map(str::to_owned),
            after,
            limit,
        };
        let found = store.list_clients(&query).await.unwrap();
        found
            .iter()
            .map(|client| client.account)
            .collect::<Vec<_>>()
    };
    let mut all: Vec<_> = ids.iter().map(|(id, _)| *id).collect();
    all.sort();
    assert_eq!(find(None, None, 2).await, all[..2]);
    assert_eq!(find(None, Some(all[1]), 2).await, all[2..]);
    let mut adas = find(Some("ada"), None, 9).await;
    adas.sort();
    let mut expected = vec![ids[0].0, ids[2].0];
    expected.sort();
    assert_eq!(adas, expected);
    assert_eq!(
        find(Some(&ids[1].1.to_uppercase()), None, 9).await,
        [ids[1].0]
    );
    assert_eq!(find(Some("%"), None, 9).await, []);
    assert_eq!(find(Some("\0"), None, 9).await, []);

    let client = store.client(ids[0].0).await.unwrap().unwrap();
    assert_eq!(client.name, "Ada Lovelace");
    assert_eq!(client.login.unwrap().1, ids[0].1);
    assert_eq!(client.status, AccountStatus::Active);
    assert_eq!(client.settings.plan, "default");
    assert_eq!(client.settings.tier.as_deref(), Some("free"));
    let nobody = AccountId::new(Uuid::now_v7());
    assert_eq!(store.client(nobody).await.unwrap(), None);
}

/// A booking is a transaction of the ledger and an entry of the audit log, both or neither.
pub async fn a_booking_is_audited(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let credit = world
        .store
        .book(&booking(client.account, 10))
        .await
        .unwrap();
    assert_eq!(booked(credit).balance, Nanos::new(10));
    let debit = world
        .store
        .book(&booking(client.account, -3))
        .await
        .unwrap();
    assert_eq!(booked(debit).balance, Nanos::new(7));
    assert!(booked(debit).transaction > booked(credit).transaction);
    let nobody = AccountId::new(Uuid::now_v7());
    let refused = world.store.book(&booking(nobody, 10)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    let log = world.store.audit_log(ENTRIES, 10).await.unwrap();
    let told: Vec<_> = log
        .iter()
        .map(|record| {
            (
                record.number,
                record.entry.before.clone(),
                record.entry.after.clone(),
            )
        })
        .collect();
    let json = |amount: &str| Some(format!(r#"{{"balance":"{amount}"}}"#));
    assert_eq!(
        told,
        [
            (ENTRIES + 1, json("0"), json("0.00000001")),
            (ENTRIES + 2, json("0.00000001"), json("0.000000007")),
        ]
    );
    assert_eq!(log[0].entry.subject, client.account.get());
    assert_eq!(
        world.store.audit_log(ENTRIES + 1, 10).await.unwrap(),
        log[1..]
    );
    let verified = verify_audit(&*world.store).await.unwrap();
    assert_eq!(verified, AuditVerification::Whole(ENTRIES + 2));
    world.assert_adds_up(0).await;
}

/// The same key and request have the same outcome, once; another request under the key is refused.
pub async fn a_booking_is_made_once_for_its_key(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let admin = admin(&world.store).await;
    let client = world.prepaid(0).await;
    let book = async |booking: Booking| world.store.book(&booking).await.unwrap();
    let first = book(keyed(client.account, 10, &admin, "a")).await;
    assert_eq!(book(keyed(client.account, 10, &admin, "a")).await, first);
    assert_eq!(
        book(keyed(client.account, 11, &admin, "a")).await,
        Booked::OtherRequest
    );
    assert_eq!(world.balance(&client).await.balance, Nanos::new(10));
    book(keyed(client.account, 10, &admin, "b")).await;
    let other = self::admin(&world.store).await;
    book(keyed(client.account, 10, &other, "a")).await;
    assert_eq!(world.balance(&client).await.balance, Nanos::new(30));
    // A day later the key is forgotten.
    let mut later = keyed(client.account, 10, &admin, "a");
    later.adjustment.at = START.plus_seconds(BOOKING_KEPT_SECONDS + 1);
    assert_ne!(book(later).await, first);
    assert_eq!(world.store.audit_log(ENTRIES, 10).await.unwrap().len(), 4);
    // Many at the same time.
    let many = (0..8).map(|_| {
        let (store, booking) = (
            Arc::clone(&world.store),
            keyed(client.account, 1, &admin, "c"),
        );
        async move { store.book(&booking).await.unwrap() }
    });
    let outcomes = futures_util::future::join_all(many).await;
    assert!(
        outcomes
            .iter()
            .any(|outcome| matches!(outcome, Booked::Yes(_)))
    );
    assert!(!outcomes.contains(&Booked::OtherRequest));
    assert_eq!(world.balance(&client).await.balance, Nanos::new(41));
}

/// A disabled account's keys are refused and its user is out; both come back when it is enabled, sessions don't.
pub async fn a_client_is_disabled_and_enabled(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let person = new_person(Payment::Prepaid);
    let (email, user) = (person.email.clone(), person.user);
    let client = world.client(person, Vec::new()).await;
    let session = super::logins::started(&world.store, user).await;
    let set = async |status| {
        let entry = entry(client.account, "client.status");
        world
            .store
            .set_client_status(client.account, status, &entry)
            .await
    };
    let state = async |client: &Client| {
        (
            world.snapshot(client).await.access,
            world
                .store
                .credentials(&email)
                .await
                .unwrap()
                .unwrap()
                .is_active,
            world.store.login(session, START).await.unwrap().is_some(),
        )
    };
    assert_eq!(state(&client).await, (Access::Granted, true, true));
    set(AccountStatus::Disabled).await.unwrap();
    assert_eq!(state(&client).await, (Access::Disabled, false, false));
    set(AccountStatus::Active).await.unwrap();
    assert_eq!(state(&client).await, (Access::Granted, true, false));
    let log = world.store.audit_log(ENTRIES, 10).await.unwrap();
    let after: Vec<_> = log
        .iter()
        .map(|record| record.entry.after.as_deref())
        .collect();
    assert_eq!(
        after,
        [
            Some(r#"{"status":"disabled"}"#),
            Some(r#"{"status":"active"}"#)
        ]
    );
    let nobody = AccountId::new(Uuid::now_v7());
    let entry = entry(nobody, "client.status");
    let refused = world
        .store
        .set_client_status(nobody, AccountStatus::Disabled, &entry)
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    assert_eq!(world.store.audit_log(ENTRIES, 10).await.unwrap().len(), 2);
}

/// What the operator sets is changed only where it is what the operator saw.
pub async fn a_client_is_changed_as_it_was_seen(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(10).await;
    let seen = world
        .store
        .client(client.account)
        .await
        .unwrap()
        .unwrap()
        .settings;
    let change = async |expected: &_, settings: &_| {
        let entry = entry(client.account, "client.change");
        world
            .store
            .change_client(client.account, expected, settings, &entry)
            .await
    };
    let mut wanted = seen.clone();
    wanted.tier = Some("free".to_owned());
    wanted.credit_line = Nanos::new(5);
    wanted.limits.requests_per_minute = std::num::NonZeroU32::new(7);
    assert_eq!(change(&seen, &wanted).await.unwrap(), Changed::Yes);
    let found = world.store.client(client.account).await.unwrap().unwrap();
    assert_eq!(found.settings, wanted);
    assert_eq!(world.snapshot(&client).await.account_limits, wanted.limits);
    assert_eq!(world.free(client.balance()).await, 15);
    assert_eq!(change(&seen, &wanted).await.unwrap(), Changed::Conflict);

    world.lease(client.balance(), 15).await;
    let mut less = wanted.clone();
    less.credit_line = Nanos::new(4);
    assert_eq!(
        change(&wanted, &less).await.unwrap(),
        Changed::CreditLineInUse
    );
    let mut unknown = wanted.clone();
    unknown.tier = Some("no such tier".to_owned());
    assert!(matches!(
        change(&wanted, &unknown).await,
        Err(StoreError::NotFound { .. })
    ));
    let mut unknown = wanted.clone();
    unknown.plan = "no such plan".to_owned();
    assert!(matches!(
        change(&wanted, &unknown).await,
        Err(StoreError::NotFound { .. })
    ));
    let found = world.store.client(client.account).await.unwrap().unwrap();
    assert_eq!(found.settings, wanted);
    assert_eq!(world.store.audit_log(ENTRIES, 10).await.unwrap().len(), 1);
}
