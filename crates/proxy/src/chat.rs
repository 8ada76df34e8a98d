//! `POST …/chat/completions`: the way of a request, stage by stage.

use std::sync::Arc;
use std::time::Instant;

use airouter_billing::disconnect::ReadShare;
use airouter_billing::event::{self, Ending};
use airouter_billing::{Nanos, RequestId};
use airouter_store::clients::KeySnapshot;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::abandoned::Abandoned;
use crate::admit::{Admitted, admit};
use crate::answer_headers::{self, AnswerHeaders, Left};
use crate::attempt::{Answered, GENERATION_ID};
use crate::body::AnswerBody;
use crate::early_head::{Answering, EarlyHead, known_headers};
use crate::forward::forward;
use crate::gateway::Gateway;
use crate::idempotency::{self, HeldKey, IdempotencyKey, Replay, Standing};
use crate::metrics::Abandonment;
use crate::problem::Problem;
use crate::rate_headers;
use crate::read_body::read_body;
use crate::relay::{Relay, Wish};
use crate::route::Surface;
use crate::service::Caller;
use crate::session::{Session, Settled};
use crate::wire::answer::{Answer, ReadAnswer};
use crate::wire::request::{Delivery, StreamUsage};
use crate::wire::usage::{Dialect, rewrite_usage};

/// Tells nginx and its like not to hold a stream back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Tells that an answer is one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Answers a chat request of an authenticated client.
pub(crate) async fn complete(
    gateway: &Arc<Gateway>,
    caller: Caller,
    surface: Surface,
    snapshot: &Arc<KeySnapshot>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    caller.hops.check()?;
    if !gateway.is_ready() {
        return Err(not_ready(gateway));
    }
    let slot = IdempotencyKey::of(request.headers())?.map(|key| key.slot(snapshot.key));
    let body = read_body(request, gateway).await?;
    // How long the client took to send it is not our time.
    let accepted = Instant::now();
    let key = match slot {
        None => None,
        Some(slot) => {
            let asked = idempotency::fingerprint(surface, body.bytes());
            let claim = idempotency::new_claim(slot, asked, caller.id);
            let standing = gateway.claims.ask(claim).await;
            match standing.map_err(|_| Problem::StoreUnavailable)? {
                Standing::Held(key) => Some(key),
                Standing::Taken(taken) => {
                    let keys = gateway.claims.encryption();
                    let replay = idempotency::answer_to_repeat(keys, slot, taken)?;
                    return Ok(replayed(gateway, caller.id, surface, replay));
                }
            }
        }
    };
    let claim = key.as_ref().map(HeldKey::claim);
    let admitted = admit(gateway, caller, snapshot, body.bytes(), accepted, claim).await;
    let mut admitted = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => return Err(came_to_nothing(problem, key).await),
    };
    admitted.session.key = key;
    let head = (surface == Surface::OpenRouter
        && admitted.session.facts().delivery == event::Delivery::Whole)
        .then(Arc::<EarlyHead>::default);
    admitted.session.head.clone_from(&head);
    let known = head
        .is_some()
        .then(|| known_headers(gateway, &admitted.session, snapshot));
    let client_gone = CancellationToken::new();
    let client = client_gone.clone().drop_guard();
    // In a task of its own: an upstream that was asked bills its answer even if the client leaves while it waits, and a
    // request that is dropped half way would forget that.
    let task = answer(admitted, surface, Arc::clone(snapshot), client_gone);
    let answering = Answering {
        gateway: Arc::clone(gateway),
        caller,
        task: gateway.tracker.spawn(task),
        _client: client,
    };
    match head.zip(known) {
        Some((head, known)) => answering.outcome_or_head(&head, accepted, known).await,
        None => answering.outcome().await,
    }
}

fn not_ready(gateway: &Gateway) -> Problem {
    if gateway.stopping.is_cancelled() {
        Problem::ShuttingDown
    } else {
        Problem::StoreUnavailable
    }
}

async fn answer(
    admitted: Admitted,
    surface: Surface,
    snapshot: Arc<KeySnapshot>,
    client_gone: CancellationToken,
) -> Result<Response<AnswerBody>, Problem> {
    let Admitted {
        mut session,
        mut bodies,
        price_share,
        usage,
    } = admitted;
    let rate = *session.rate.status();
    let answered = match forward(&mut session, &mut bodies, price_share, &client_gone).await {
        Ok(answered) => answered,
        Err(problem) => {
            let problem = session.told(problem);
            let key = session.refund();
            return Err(came_to_nothing(problem, key).await);
        }
    };
    drop(bodies);
    let gateway = Arc::clone(&session.gateway);
    let hold = session.facts().hold;
    let generation = session.meter.generation_id.clone();
    let left = || match gateway.settings.answer_headers {
        AnswerHeaders::On => Some(Left::of(&gateway, &snapshot.budgets)),
        AnswerHeaders::Off => None,
    };
    let (mut response, price, left) = match answered {
        Answered::Whole(read) => {
            if client_gone.is_cancelled() {
                session.abandoned = Some(left_unread(&read));
            }
            let (response, price) = whole(session, &read, surface).await?;
            (response, price, left())
        }
        Answered::Stream(stream) => {
            // A short one may be settled as soon as it is relayed.
            let left = left();
            let relay = Relay::new(session, stream, Wish { surface, usage });
            (streamed(AnswerBody::Relayed(Box::new(relay))), None, left)
        }
    };
    let headers = response.headers_mut();
    rate_headers::add(&rate, headers);
    if let Some(left) = left {
        answer_headers::add((hold, price), left, headers);
    }
    if surface == Surface::OpenRouter {
        let id = generation.and_then(|id| HeaderValue::from_str(&id).ok());
        id.map(|id| headers.insert(GENERATION_ID, id));
    }
    Ok(response)
}

/// A whole answer, with the client's price in it, sent when its usage is durable.
async fn whole(
    session: Session,
    read: &ReadAnswer,
    surface: Surface,
) -> Result<(Response<AnswerBody>, Option<Nanos>), Problem> {
    let shown_model = session.shown_model();
    let mut answer = read.look();
    if let Some(shown) = &shown_model {
        answer.show_model(shown);
    }
    let ending = if answer.is_failure() {
        Ending::UpstreamFailed
    } else {
        Ending::Complete
    };
    let ended = session.end(ending);
    let price = ended.price();
    let dialect = match surface {
        Surface::OpenAi => Dialect::OpenAi,
        Surface::OpenRouter => Dialect::OpenRouter,
    };
    let usage = match (answer.usage, price) {
        (Some(usage), Some(price)) => rewrite_usage(usage, price.usd(), dialect).ok(),
        _ => None,
    };
    // Without a price nothing of the upstream's usage passes: it may speak of the operator's money.
    let text = answer.with_usage(usage.as_deref().unwrap_or("null"));
    let Settled { commit, .. } = ended.settle(Some(text.as_bytes()));
    commit.durable().await.map_err(|_| Problem::NotDurable)?;
    Ok((whole_answer(AnswerBody::whole(text)), price))
}

/// A head for an answer in one piece.
pub(crate) fn whole_answer(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    response
}

/// The key of a request that came to nothing is free again before its client is told, so that it may be repeated at once.
async fn came_to_nothing(problem: Problem, key: Option<HeldKey>) -> Problem {
    if let Some(key) = key {
        key.release().await;
    }
    problem
}

/// The answer to an earlier request with the same key: nothing is held, counted or charged for it.
fn replayed(
    gateway: &Gateway,
    id: RequestId,
    surface: Surface,
    replay: Replay,
) -> Response<AnswerBody> {
    let Replay {
        request,
        price,
        answer,
    } = replay;
    gateway.metrics.answer_replayed();
    tracing::info!(target: "airouter::request", request = %id, replayed = %request, "replayed");
    let parsed = Answer::parse(&answer).ok();
    let generation = parsed.and_then(|answer| HeaderValue::from_str(answer.id.as_deref()?).ok());
    let mut response = whole_answer(AnswerBody::whole(answer));
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if gateway.settings.answer_headers == AnswerHeaders::On {
        answer_headers::add_earlier(request, price, headers);
    }
    if surface == Surface::OpenRouter {
        generation.map(|id| headers.insert(GENERATION_ID, id));
    }
    response
}

/// A whole answer whose client did not wait for it: it can't be cancelled, and none of it is read.
fn left_unread(answer: &ReadAnswer) -> Abandoned {
    Abandoned {
        how: Abandonment::Drained,
        share: ReadShare {
            read: 0,
            unread: u64::try_from(answer.text().len()).unwrap_or(u64::MAX),
        },
    }
}

fn streamed(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// What a stream's client wants to see of usage.
pub(crate) const fn usage_wish(delivery: Delivery) -> StreamUsage {
    match delivery {
        Delivery::Whole => StreamUsage::Omitted,
        Delivery::Stream { usage } => usage,
    }
}
