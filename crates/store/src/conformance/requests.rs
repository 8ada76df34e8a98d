//! Lists of single requests.

use std::sync::Arc;

use airouter_billing::event::{Ending, LossReason, Payment};
use airouter_billing::{AccountId, ApiKeyId, MasterAccountId, Nanos, RequestId, UsageEvent};
use uuid::{NoContext, Uuid};

use super::world::{Client, START, World, charge, lost, new_key, new_person};
use crate::Store;
use crate::master_accounts::UpstreamKind;
use crate::requests::{
    FailedAttempts, MOST_EXAMINED, OutcomeFilter, RequestFilter, RequestPage, RequestQuery,
};

/// A client that pays afterwards, and has no limit.
async fn metered(world: &World) -> Client {
    let person = new_person(Payment::Metered);
    world.client(person, Vec::new()).await
}

/// A request that came and ended so many seconds after [`START`].
fn event_at(world: &World, client: &Client, seconds: i64) -> UsageEvent {
    let at = START.plus_seconds(seconds);
    let mut event = world.event_at(client, "0.001", at);
    event.request.admitted_at = at;
    event.request.id = id_at(seconds);
    event
}

fn id_at(seconds: i64) -> RequestId {
    let at = START.plus_seconds(seconds).as_micros() / 1_000_000;
    let stamp = uuid::Timestamp::from_unix(NoContext, u64::try_from(at).unwrap(), 0);
    RequestId::new(Uuid::new_v7(stamp))
}

fn ids(events: &[UsageEvent]) -> Vec<RequestId> {
    events.iter().map(|event| event.request.id).collect()
}

fn ids_of(page: &RequestPage) -> Vec<RequestId> {
    page.requests.iter().map(|request| request.id).collect()
}

async fn page(
    world: &World,
    filter: &RequestFilter,
    after: Option<RequestId>,
    limit: u16,
) -> RequestPage {
    let query = RequestQuery {
        filter: filter.clone(),
        after,
        limit,
    };
    world.store.requests(&query).await.unwrap()
}

async fn matching(world: &World, filter: &RequestFilter) -> Vec<RequestId> {
    let found = page(world, filter, None, 100).await;
    assert_eq!(found.next, None);
    ids_of(&found)
}

fn of_payer(client: &Client) -> RequestFilter {
    RequestFilter {
        payer: Some(client.account),
        ..RequestFilter::default()
    }
}

/// Lists go from the newest request to the oldest, page by page; of everybody, of a payer, and of a key.
pub async fn requests_are_listed_in_pages(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (ann, bob) = (metered(&world).await, metered(&world).await);
    let mut events = Vec::new();
    for second in 0..6 {
        let client = if second % 3 == 2 { &bob } else { &ann };
        events.push(event_at(&world, client, second));
    }
    // They are settled in another order than they came in.
    world
        .commit(vec![events[3].clone(), events[0].clone()])
        .await;
    let rest = [4, 1, 5, 2].map(|index: usize| events[index].clone());
    world.commit(rest.to_vec()).await;
    let newest_first: Vec<_> = ids(&events).into_iter().rev().collect();
    let of = |client: &Client| -> Vec<_> {
        let own = events
            .iter()
            .rev()
            .filter(|event| event.request.payer == client.account);
        own.map(|event| event.request.id).collect()
    };
    let everybodys = RequestFilter::default();
    let key = RequestFilter {
        key: Some(ann.key),
        ..RequestFilter::default()
    };
    let all = [
        (everybodys, newest_first),
        (of_payer(&ann), of(&ann)),
        (of_payer(&bob), of(&bob)),
        (key, of(&ann)),
    ];
    for (filter, expected) in &all {
        assert_eq!(matching(&world, filter).await, *expected);
    }
    let mut seconds = 100..;
    for (filter, _) in &all {
        let expected = matching(&world, filter).await;
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = page(&world, filter, after, 2).await;
            assert!(page.requests.len() <= 2);
            seen.extend(ids_of(&page));
            after = page.next;
            if after.is_none() {
                break;
            }
            // What comes meanwhile changes nothing of what was there.
            for client in [&ann, &bob] {
                let late = event_at(&world, client, seconds.next().unwrap());
                world.commit(vec![late]).await;
            }
        }
        assert_eq!(seen, expected);
    }
}

/// By its key, a list is in the order in which requests ended.
pub async fn a_keys_requests_are_listed_as_they_ended(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = metered(&world).await;
    let mut events: Vec<_> = (0..5)
        .map(|second| event_at(&world, &client, second))
        .collect();
    events[0].finished_at = START.plus_seconds(60);
    for tied in [2, 3] {
        events[tied].finished_at = START.plus_seconds(10);
    }
    world.commit(events.clone()).await;
    let filter = RequestFilter {
        key: Some(client.key),
        ..RequestFilter::default()
    };
    let expected = [0, 3, 2, 4, 1].map(|index: usize| events[index].request.id);
    let (mut after, mut seen) = (None, Vec::new());
    for _ in 0..expected.len() {
        let page = page(&world, &filter, after, 1).await;
        seen.extend(ids_of(&page));
        after = page.next;
    }
    assert_eq!((seen, after), (expected.to_vec(), None));
    let nobodys = RequestFilter {
        payer: Some(AccountId::new(Uuid::now_v7())),
        ..filter
    };
    assert_eq!(matching(&world, &nobodys).await, []);
}

/// Each filter lets through what it says, and several what all of them say.
pub async fn requests_are_filtered(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    // Enough for three requests.
    let client = world.prepaid(2_400_000).await;
    let second_key = new_key(Vec::new());
    let created = world
        .store
        .create_key(client.account, None, &second_key, START);
    created.await.unwrap();
    let mut events: Vec<_> = (0..6)
        .map(|index| event_at(&world, &client, index * 3_600))
        .collect();
    events[0].request.api_key = second_key.id;
    events[1].served.model = Some("other/model".to_owned());
    events[2].ending = Ending::ClientGone;
    for event in &mut events[..4] {
        event.charges = vec![charge(client.balance(), 0, event.price.get())];
    }
    events[4] = lost(events[4].clone(), LossReason::FailedAttempt);
    events[5] = lost(events[5].clone(), LossReason::Crash);
    for part in events.chunks(3) {
        world.commit(part.to_vec()).await;
    }
    let all = ids(&events);
    let expect = async |filter: RequestFilter, expected: &[usize]| {
        let mut expected: Vec<_> = expected.iter().map(|index| all[*index]).collect();
        expected.reverse();
        for payer in [filter.payer, Some(client.account)] {
            let filter = RequestFilter {
                payer,
                ..filter.clone()
            };
            assert_eq!(matching(&world, &filter).await, expected, "{filter:?}");
        }
    };
    let none = RequestFilter::default;
    let model = |name: &str| RequestFilter {
        model: Some(name.to_owned()),
        ..none()
    };
    let served = |name: &str| RequestFilter {
        served_model: Some(name.to_owned()),
        ..none()
    };
    let outcome = |outcome| RequestFilter {
        outcome: Some(outcome),
        ..none()
    };
    let master = |id| RequestFilter {
        master_account: Some(id),
        ..none()
    };
    let between = |from, to| RequestFilter {
        from: Some(START.plus_seconds(from)),
        to: Some(START.plus_seconds(to)),
        ..none()
    };
    expect(none(), &[0, 1, 2, 3, 4, 5]).await;
    expect(model("test/model"), &[0, 1, 2, 3, 4, 5]).await;
    expect(model("other/model"), &[1]).await;
    expect(model("no/model"), &[]).await;
    expect(model("\0"), &[]).await;
    expect(served("other/model"), &[1]).await;
    expect(served("test/model"), &[]).await;
    expect(master(world.master), &[0, 1, 2, 3, 4, 5]).await;
    expect(master(MasterAccountId::new(Uuid::now_v7())), &[]).await;
    expect(outcome(OutcomeFilter::Charged), &[0, 1, 2, 3]).await;
    expect(outcome(OutcomeFilter::Uncollected), &[3]).await;
    expect(outcome(OutcomeFilter::Refunded), &[]).await;
    expect(outcome(OutcomeFilter::Lost(LossReason::Crash)), &[5]).await;
    expect(
        outcome(OutcomeFilter::Lost(LossReason::FailedAttempt)),
        &[4],
    )
    .await;
    expect(between(3_600, 3 * 3_600), &[1, 2]).await;
    let gone = RequestFilter {
        ending: Some(Ending::ClientGone),
        ..none()
    };
    expect(gone.clone(), &[2]).await;
    expect(
        RequestFilter {
            outcome: Some(OutcomeFilter::Uncollected),
            ..gone
        },
        &[],
    )
    .await;
    let key = RequestFilter {
        key: Some(second_key.id),
        ..none()
    };
    expect(key.clone(), &[0]).await;
    expect(
        RequestFilter {
            from: Some(START.plus_seconds(1)),
            ..key
        },
        &[],
    )
    .await;
    let member = |account| RequestFilter {
        member: Some(account),
        ..none()
    };
    expect(member(client.account), &[0, 1, 2, 3, 4, 5]).await;
    expect(member(AccountId::new(Uuid::now_v7())), &[]).await;
    let hidden = RequestFilter {
        failed_attempts: FailedAttempts::Hidden,
        ..none()
    };
    expect(hidden, &[0, 1, 2, 3, 5]).await;
}

/// A filter that few pass costs no more: a page may be short, and says where to go on.
pub async fn a_page_looks_only_so_far(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = metered(&world).await;
    let mut events = Vec::new();
    for millis in 0..=i64::from(MOST_EXAMINED) {
        let mut event = event_at(&world, &client, 0);
        let at = START.as_micros() / 1_000 + millis;
        let (seconds, rest) = (at / 1_000, at % 1_000 * 1_000_000);
        let (seconds, rest) = (u64::try_from(seconds), u32::try_from(rest));
        let stamp = uuid::Timestamp::from_unix(NoContext, seconds.unwrap(), rest.unwrap());
        event.request.id = RequestId::new(Uuid::new_v7(stamp));
        event.finished_at = START.plus_seconds(millis);
        events.push(event);
    }
    // The oldest one is beyond the first look.
    events[0].served.model = Some("rare/model".to_owned());
    let newest = events.len() - 1;
    events[newest].served.model = Some("rare/model".to_owned());
    let (oldest, second, newest) = (
        events[0].request.id,
        events[1].request.id,
        events[newest].request.id,
    );
    for part in events.chunks(1_000) {
        world.commit(part.to_vec()).await;
    }
    let rare = RequestFilter {
        model: Some("rare/model".to_owned()),
        ..RequestFilter::default()
    };
    let of_payer = RequestFilter {
        payer: Some(client.account),
        ..rare.clone()
    };
    let of_key = RequestFilter {
        key: Some(client.key),
        ..rare.clone()
    };
    for filter in [rare, of_payer, of_key] {
        let first = page(&world, &filter, None, 10).await;
        assert_eq!((ids_of(&first), first.next), (vec![newest], Some(second)));
        let last = page(&world, &filter, first.next, 10).await;
        assert_eq!((ids_of(&last), last.next), (vec![oldest], None));
    }
}

/// A request says who sent it, where it was served, by what it was priced and what came of it.
pub async fn a_request_is_told_whole(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(0).await;
    let mut event = event_at(&world, &client, 5);
    event.request.requested_model = "an-alias".to_owned();
    event.charges = vec![charge(client.balance(), 0, event.price.get())];
    world.commit(vec![event.clone()]).await;
    let told = world
        .store
        .request(event.request.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.id, event.request.id);
    assert_eq!(told.sender.payer, client.account);
    assert_eq!(told.sender.payer_name, "Ada");
    assert_eq!(told.sender.key, client.key);
    assert_eq!(told.sender.key_name.as_deref(), Some("test"));
    assert_eq!(told.server.name.as_deref(), Some("main"));
    assert_eq!(told.server.kind, Some(UpstreamKind::OpenRouter));
    assert_eq!(told.server.generation_id, event.served.generation_id);
    assert_eq!(told.server.provider, event.served.provider);
    assert_eq!(told.terms.requested_model, "an-alias");
    assert_eq!(told.terms.master_account, world.master);
    assert_eq!(told.terms.rule, event.request.rule);
    assert_eq!(told.shown_model(), "test/model-2026");
    assert_eq!(told.tokens, event.tokens);
    assert_eq!(told.reported_cost, event.reported_cost);
    assert_eq!(
        (told.source, told.inference),
        (event.source, event.inference)
    );
    assert_eq!((told.list_cost, told.cost), (event.list_cost, event.cost));
    assert_eq!(told.covered.charged, Nanos::ZERO);
    assert_eq!(told.covered.uncollected, event.price);
    assert_eq!(told.price(), event.price);
    assert_eq!((told.loss, told.is_corrected), (None, false));
    assert_eq!(told.admitted_at, event.request.admitted_at);
    assert_eq!(told.finished_at, event.finished_at);
    assert_eq!(told.first_byte_micros, event.first_byte_micros);
    assert!(told.transaction > 0);
    let unknown = RequestId::new(Uuid::now_v7());
    assert_eq!(world.store.request(unknown).await.unwrap(), None);
    let nobodys = RequestFilter {
        key: Some(ApiKeyId::new(Uuid::now_v7())),
        ..RequestFilter::default()
    };
    assert_eq!(matching(&world, &nobodys).await, []);
}

/// A request whose loss was corrected is what its correction says, in lists and by filters too.
pub async fn a_corrected_request_is_its_correction(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(10_000_000).await;
    let event = world.corrected(&client, "0.001").await;
    let told = world
        .store
        .request(event.request.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((told.loss, told.is_corrected), (None, true));
    assert_eq!(told.covered.charged, event.price);
    let outcome = |outcome| RequestFilter {
        outcome: Some(outcome),
        ..RequestFilter::default()
    };
    let charged = outcome(OutcomeFilter::Charged);
    assert_eq!(matching(&world, &charged).await, [event.request.id]);
    let crash = outcome(OutcomeFilter::Lost(LossReason::Crash));
    assert_eq!(matching(&world, &crash).await, []);
    let listed = page(&world, &of_payer(&client), None, 10).await;
    assert_eq!(listed.requests, [told]);
}
