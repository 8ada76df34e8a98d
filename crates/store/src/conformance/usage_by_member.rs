//! What members used of an organization.

use std::collections::HashSet;
use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_billing::event::Payment;
use uuid::Uuid;

use super::usage::fold_all;
use super::world::{Client, START, World, new_key, new_person};
use crate::Store;
use crate::clients::{MemberRole, NewMember, NewOrganization, RequestLimits};
use crate::requests::{RequestFilter, RequestQuery};
use crate::usage::{Lines, PayerPart, PayerQuery, QuarterHour, UsagePeriod};

/// A member of the organization, with a key for which it pays.
async fn member(world: &World, organization: AccountId, name: &str) -> (AccountId, Client) {
    let mut person = new_person(Payment::Metered);
    person.name = name.to_owned();
    let own = world.client(person, Vec::new()).await;
    let member = NewMember {
        organization,
        person: own.account,
        role: MemberRole::Member,
        caps: Vec::new(),
        at: START,
    };
    world.store.add_member(&member).await.unwrap();
    let key = new_key(Vec::new());
    let created = world
        .store
        .create_key(own.account, Some(organization), &key, START);
    created.await.unwrap();
    // What a member pays for himself is none of the organization's.
    world
        .commit(vec![world.event_at(&own, "0.01", START)])
        .await;
    let client = Client {
        account: organization,
        key: key.id,
        hash: key.hash,
        ..own
    };
    (own.account, client)
}

/// What an organization paid for is told apart by whose keys were used, before it is summed up and after.
pub async fn an_organizations_use_is_reported_by_member(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let organization = NewOrganization {
        account: AccountId::new(Uuid::now_v7()),
        name: "School".to_owned(),
        parent: None,
        payment: Payment::Metered,
        tier: None,
        caps: Vec::new(),
        limits: RequestLimits::default(),
        at: START,
    };
    world
        .store
        .create_organization(&organization)
        .await
        .unwrap();
    let payer = organization.account;
    let (ann, anns) = member(&world, payer, "Ann").await;
    let (bob, bobs) = member(&world, payer, "Bob").await;
    let events = [&anns, &bobs, &bobs].map(|client| world.event_at(client, "0.01", START));
    let ids = events.each_ref().map(|event| event.request.id);
    world.commit(events.to_vec()).await;
    let model = events[0].served.model.clone().unwrap();
    let used = async |member, by, model| {
        let query = PayerQuery {
            payer,
            periods: vec![UsagePeriod {
                from: QuarterHour::containing(START),
                to: QuarterHour::containing(START).plus(1),
            }],
            key: None,
            member,
            model,
            by,
            lines: Lines::ALL,
        };
        let rows = world.store.payer_usage(&query).await.unwrap();
        let told = rows.into_iter();
        told.map(|row| (row.about, row.name, row.sums.requests))
            .collect::<Vec<_>>()
    };
    let line = |account: AccountId, name: &str, requests| {
        (account.to_string(), Some(name.to_owned()), requests)
    };
    for _ in ["as it comes in", "summed up"] {
        for model in [None, Some(model.clone())] {
            let all = used(None, PayerPart::Member, model.clone()).await;
            assert_eq!(all, [line(bob, "Bob", 2), line(ann, "Ann", 1)]);
            let anns = used(Some(ann), PayerPart::Member, model.clone()).await;
            assert_eq!(anns, [line(ann, "Ann", 1)]);
            let bobs = used(Some(bob), PayerPart::Whole, model).await;
            assert_eq!(bobs, [(String::new(), None, 2)]);
        }
        let models = used(Some(bob), PayerPart::Model, None).await;
        assert_eq!(models, [(model.clone(), None, 2)]);
        fold_all(&*world.store).await;
    }
    for (member, own) in [(ann, &ids[..1]), (bob, &ids[1..])] {
        let own: HashSet<_> = own.iter().copied().collect();
        let query = RequestQuery {
            filter: RequestFilter {
                payer: Some(payer),
                member: Some(member),
                ..RequestFilter::default()
            },
            after: None,
            limit: 10,
        };
        let page = world.store.requests(&query).await.unwrap();
        let listed: HashSet<_> = page.requests.iter().map(|request| request.id).collect();
        assert_eq!(listed, own);
    }
}
