//! `POST …/chat/completions`: the way of a request, stage by stage.

use std::sync::Arc;
use std::time::Instant;

use airouter_billing::RequestId;
use airouter_billing::event::Ending;
use airouter_store::clients::KeySnapshot;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::admit::{Admitted, admit};
use crate::body::AnswerBody;
use crate::forward::{Answered, GENERATION_ID, forward};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rate_headers;
use crate::read_body::read_body;
use crate::relay::{Relay, Wish};
use crate::route::Surface;
use crate::session::{Session, Settled};
use crate::wire::answer::Answer;
use crate::wire::request::{Delivery, StreamUsage};
use crate::wire::usage::{Dialect, rewrite_usage};

/// Tells nginx and its like not to hold a stream back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a chat request of an authenticated client.
pub(crate) async fn complete(
    gateway: &Arc<Gateway>,
    id: RequestId,
    surface: Surface,
    snapshot: &Arc<KeySnapshot>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    if !gateway.is_ready() {
        return Err(not_ready(gateway));
    }
    let body = read_body(request, gateway).await?;
    // How long the client took to send it is not our time.
    let accepted = Instant::now();
    let admitted = admit(gateway, id, snapshot, body.bytes(), accepted).await?;
    let client_gone = CancellationToken::new();
    let _gone_when_dropped = client_gone.clone().drop_guard();
    // In a task of its own: an upstream that was asked bills its answer even if the client leaves while it waits, and a
    // request that is dropped half way would forget that.
    let answer = gateway
        .tracker
        .spawn(answer(admitted, surface, client_gone));
    answer
        .await
        .unwrap_or(Err(Problem::Unavailable { retry_after: None }))
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
    client_gone: CancellationToken,
) -> Result<Response<AnswerBody>, Problem> {
    let Admitted {
        mut session,
        body,
        price_share,
        usage,
    } = admitted;
    let rate = *session.rate.status();
    let answered = match forward(&mut session, &body, price_share, &client_gone).await {
        Ok(answered) => answered,
        Err(problem) => {
            session.refund();
            return Err(problem);
        }
    };
    drop(body);
    let generation = session.meter.generation_id.clone();
    let mut response = match answered {
        Answered::Whole(bytes) => whole(session, bytes, surface).await?,
        Answered::Stream(stream) => {
            let relay = Relay::new(session, stream, Wish { surface, usage });
            streamed(AnswerBody::Relayed(Box::new(relay)))
        }
    };
    let headers = response.headers_mut();
    rate_headers::add(&rate, headers);
    if surface == Surface::OpenRouter {
        let id = generation.and_then(|id| HeaderValue::from_str(&id).ok());
        id.map(|id| headers.insert(GENERATION_ID, id));
    }
    Ok(response)
}

/// A whole answer, with the client's price in it, sent when its usage is durable.
async fn whole(
    session: Session,
    bytes: Bytes,
    surface: Surface,
) -> Result<Response<AnswerBody>, Problem> {
    let answer = Answer::parse(&bytes).map_err(|_| Problem::Unavailable { retry_after: None })?;
    let ending = if answer.is_failure() {
        Ending::UpstreamFailed
    } else {
        Ending::Complete
    };
    let Settled { price, commit } = session.settle(ending);
    commit.durable().await.map_err(|_| Problem::NotDurable)?;
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
    let mut response = Response::new(AnswerBody::whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    Ok(response)
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
