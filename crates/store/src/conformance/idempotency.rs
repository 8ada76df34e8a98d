//! Keys for repeats.

use std::sync::Arc;

use airouter_auth::SealedSecret;
use airouter_billing::correction::Answers;
use airouter_billing::event::LossReason;
use airouter_billing::idempotency::KEPT_SECONDS;
use airouter_billing::recovery::PendingReason;
use airouter_billing::{Nanos, RequestId, UsageEvent};
use futures_util::future::join_all;
use uuid::Uuid;

use super::world::{Client, START, World, charge, lost};
use crate::Store;
use crate::idempotency::{
    Claim, Claimed, FinishedClaim, IdempotencySlot, NewClaim, RequestFingerprint,
};
use crate::leases::ReplicaId;
use crate::settlements::{CommitBatch, Committed, RefusedEvent};

/// The list cost at which a client pays 80 nano-dollars.
const EIGHTY: &str = "0.0000001";

fn wanted(slot: u8, body: u8) -> NewClaim {
    NewClaim {
        slot: IdempotencySlot::new([slot; 32]),
        fingerprint: RequestFingerprint::new([body; 32]),
        request: RequestId::new(Uuid::now_v7()),
    }
}

const fn held(claim: NewClaim) -> Claim {
    Claim {
        slot: claim.slot,
        request: claim.request,
    }
}

/// Another request that asks for the same.
fn repeat(claim: NewClaim) -> NewClaim {
    NewClaim {
        request: RequestId::new(Uuid::now_v7()),
        ..claim
    }
}

fn answer() -> SealedSecret {
    SealedSecret::from_bytes(vec![0, 1, 0xff, b'"', 0])
}

impl World {
    async fn claim_as(&self, replica: ReplicaId, claim: NewClaim) -> Claimed {
        let answers = self.store.claim(replica, &[claim], START).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.into_iter().next().unwrap()
    }

    async fn claim(&self, claim: NewClaim) -> Claimed {
        self.claim_as(self.replica, claim).await
    }

    /// An event of 80 nano-dollars for the request that has the key.
    fn event_of(&self, client: &Client, claim: NewClaim) -> UsageEvent {
        let mut event = self.event(client, EIGHTY);
        event.request.id = claim.request;
        event.charges = vec![charge(client.balance(), 0, 80)];
        event
    }

    async fn finish(
        &self,
        event: UsageEvent,
        claim: NewClaim,
        answer: Option<SealedSecret>,
    ) -> Committed {
        let batch = CommitBatch {
            events: vec![event],
            finished_claims: vec![FinishedClaim {
                claim: held(claim),
                answer,
            }],
            ..CommitBatch::default()
        };
        self.store
            .commit(self.replica, &batch, START)
            .await
            .unwrap()
    }
}

/// One request has a key; a repeat finds it running, something else is refused, and other keys are not touched.
pub async fn a_key_is_one_requests(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = wanted(1, 1);
    let request = first.request;
    assert_eq!(world.claim(first).await, Claimed::Granted);
    assert_eq!(world.claim(first).await, Claimed::Granted);
    assert_eq!(
        world.claim(repeat(first)).await,
        Claimed::Running { request }
    );
    assert_eq!(world.claim(wanted(1, 2)).await, Claimed::OtherBody);
    let several = [wanted(2, 1), repeat(first), wanted(3, 1)];
    let answers = world.store.claim(world.replica, &several, START).await;
    assert_eq!(
        answers.unwrap(),
        [
            Claimed::Granted,
            Claimed::Running { request },
            Claimed::Granted
        ]
    );
    assert_eq!(
        world.store.claim(world.replica, &[], START).await.unwrap(),
        []
    );
}

/// A request that came to nothing gives its key back, and only its own.
pub async fn a_released_key_is_free(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = wanted(1, 1);
    world.claim(first).await;
    let other = held(repeat(first));
    world.store.release(&[other]).await.unwrap();
    assert_ne!(world.claim(repeat(first)).await, Claimed::Granted);
    world.store.release(&[held(first), other]).await.unwrap();
    world.store.release(&[held(first)]).await.unwrap();
    world.store.release(&[]).await.unwrap();
    assert_eq!(world.claim(wanted(1, 2)).await, Claimed::Granted);
}

/// What a repeat is told follows from the usage event: a charged request is not run again.
pub async fn a_charged_request_keeps_its_key(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let (whole, streamed, bare) = (wanted(1, 1), wanted(2, 1), wanted(3, 1));
    for claim in [whole, streamed, bare] {
        world.claim(claim).await;
    }
    world
        .finish(world.event_of(&client, whole), whole, Some(answer()))
        .await;
    world
        .finish(world.event_of(&client, streamed), streamed, None)
        .await;
    // The event alone says it, should its claim not have come with it.
    world.commit(vec![world.event_of(&client, bare)]).await;
    let price = Nanos::new(80);
    assert_eq!(
        world.claim(repeat(whole)).await,
        Claimed::Answered {
            request: whole.request,
            price: Some(price),
            answer: answer()
        }
    );
    for claim in [streamed, bare] {
        assert_eq!(
            world.claim(repeat(claim)).await,
            Claimed::Finished {
                request: claim.request,
                price
            }
        );
    }
    assert_eq!(world.claim(wanted(1, 2)).await, Claimed::OtherBody);
    world.store.end_replica(world.replica, START).await.unwrap();
    assert_ne!(world.claim(repeat(streamed)).await, Claimed::Granted);
    world.assert_adds_up(3).await;
}

/// After a day a key is forgotten, by the next who asks for it or by the sweep, but not while its request runs.
pub async fn keys_are_forgotten_in_time(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let (first, second, running) = (wanted(1, 1), wanted(2, 1), wanted(3, 1));
    for claim in [first, second, running] {
        world.claim(claim).await;
    }
    for claim in [first, second] {
        world
            .finish(world.event_of(&client, claim), claim, Some(answer()))
            .await;
    }
    let late = START.plus_seconds(KEPT_SECONDS);
    let early = late.plus_seconds(-1);
    assert_eq!(world.store.sweep_claims(early, 10).await.unwrap(), 0);
    let again = [repeat(first), repeat(running)];
    let answers = world.store.claim(world.replica, &again, late).await;
    let request = running.request;
    assert_eq!(
        answers.unwrap(),
        [Claimed::Granted, Claimed::Running { request }]
    );
    assert_eq!(world.store.sweep_claims(late, 10).await.unwrap(), 1);
    assert_eq!(world.store.sweep_claims(late, 10).await.unwrap(), 0);
    assert_eq!(world.claim(repeat(second)).await, Claimed::Granted);
    world
        .finish(world.event_of(&client, running), running, None)
        .await;
    let later = late.plus_seconds(KEPT_SECONDS);
    assert_eq!(world.store.sweep_claims(later, 1).await.unwrap(), 1);
    assert_ne!(world.claim(repeat(first)).await, Claimed::Granted);
}

/// A request that became our loss cost its client nothing: a repeat runs.
pub async fn a_lost_requests_key_is_free(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    for (slot, reason) in [(1, LossReason::Crash), (2, LossReason::Unknown)] {
        let first = wanted(slot, 1);
        world.claim(first).await;
        let event = lost(world.event_of(&client, first), reason);
        world.finish(event, first, None).await;
        assert_eq!(world.claim(repeat(first)).await, Claimed::Granted);
    }
    assert_eq!(world.balance(&client).await.balance, Nanos::new(1_000));
}

/// A dead replica keeps no key. Should what it served come to light after a repeat was run, that is a loss: the client
/// pays once.
pub async fn an_ended_replicas_key_is_free_and_what_it_served_is_a_loss(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let (first, open) = (wanted(1, 1), wanted(2, 1));
    world.claim(first).await;
    world.claim(open).await;
    let heir = world.store.register_replica(START).await.unwrap();
    world.store.end_replica(world.replica, START).await.unwrap();
    let second = repeat(first);
    assert_eq!(world.claim_as(heir, second).await, Claimed::Granted);
    let request = second.request;
    assert_eq!(
        world.claim(repeat(first)).await,
        Claimed::Running { request }
    );
    for _ in 0..2 {
        let late = world.event_of(&client, first);
        let committed = world.finish(late, first, Some(answer())).await;
        assert_eq!(committed.superseded, [first.request]);
    }
    assert_eq!(world.balance(&client).await.balance, Nanos::new(1_000));
    let committed = world
        .finish(world.event_of(&client, second), second, Some(answer()))
        .await;
    assert_eq!(committed.superseded, []);
    assert_eq!(world.balance(&client).await.balance, Nanos::new(920));
    let price = Some(Nanos::new(80));
    assert_eq!(
        world.claim(repeat(first)).await,
        Claimed::Answered {
            request,
            price,
            answer: answer()
        }
    );
    // What nobody repeated is charged, however late it comes.
    let late = world.event_of(&client, open);
    assert_eq!(world.finish(late, open, None).await.superseded, []);
    assert_eq!(world.balance(&client).await.balance, Nanos::new(840));
    world.assert_adds_up(3).await;
}

/// An answer whose price is still to be found out is not run again, whatever becomes of its replica.
pub async fn a_key_of_open_usage_is_not_free(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let client = world.prepaid(1_000).await;
    let (kept, streamed) = (wanted(1, 1), wanted(2, 1));
    let mut batch = CommitBatch::default();
    for (claim, answer) in [(kept, Some(answer())), (streamed, None)] {
        world.claim(claim).await;
        let mut pending = world.pending(&client, vec![charge(client.balance(), 0, 0)]);
        pending.request.id = claim.request;
        pending.reason = PendingReason::UsageUnknown;
        pending.claim = Some(held(claim));
        batch.pending.push(pending);
        batch.finished_claims.push(FinishedClaim {
            claim: held(claim),
            answer,
        });
    }
    world
        .store
        .commit(world.replica, &batch, START)
        .await
        .unwrap();
    // Nor is it forgotten while it may be charged; the same holds of one that the database refused.
    let refused = wanted(3, 1);
    world.claim(refused).await;
    let refused = RefusedEvent {
        event: world.event_of(&client, refused),
        answers: Answers::Acknowledged,
        reason: "a constraint".to_owned(),
    };
    let kept_aside = world.store.set_aside(world.replica, &refused, START).await;
    kept_aside.unwrap();
    world.store.end_replica(world.replica, START).await.unwrap();
    let late = START.plus_seconds(2 * KEPT_SECONDS);
    assert_eq!(world.store.sweep_claims(late, 10).await.unwrap(), 0);
    world.commit(vec![refused.event]).await;
    assert_eq!(world.store.sweep_claims(late, 10).await.unwrap(), 1);
    let request = kept.request;
    assert_eq!(
        world.claim(repeat(kept)).await,
        Claimed::Answered {
            request,
            price: None,
            answer: answer()
        }
    );
    let request = streamed.request;
    assert_eq!(
        world.claim(repeat(streamed)).await,
        Claimed::Running { request }
    );
    // When it is found out, the answer stays.
    world
        .finish(world.event_of(&client, kept), kept, None)
        .await;
    let again = world.claim(repeat(kept)).await;
    assert!(
        matches!(again, Claimed::Answered { price: Some(price), .. } if price == Nanos::new(80))
    );
    world.assert_adds_up(2).await;
}

/// However many ask for one key at once, on whichever replicas, one gets it; also when it is taken from a dead one.
pub async fn of_many_claims_one_is_granted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let dead = wanted(2, 1);
    world.claim(dead).await;
    world.store.end_replica(world.replica, START).await.unwrap();
    let heir = world.store.register_replica(START).await.unwrap();
    for slot in [1, 2] {
        let claims: Vec<_> = (0..16)
            .map(|_| [wanted(9 + slot, 1), wanted(slot, 1)])
            .collect();
        let asked = claims
            .iter()
            .map(|claims| world.store.claim(heir, claims, START));
        let mut granted = [0; 2];
        for answers in join_all(asked).await {
            for (count, answer) in granted.iter_mut().zip(answers.unwrap()) {
                *count += u32::from(answer == Claimed::Granted);
            }
        }
        assert_eq!(granted, [1, 1]);
    }
}
