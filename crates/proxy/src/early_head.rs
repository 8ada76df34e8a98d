//! The head of a whole answer goes ahead of one that takes long, on OpenRouter's surface, as OpenRouter's does
//! (wire-contract §1.2): it has the id of the generation, by which a client that crashes or is cut off finds out what it
//! was charged. White space keeps the connection alive until the answer is there; a failure is an error inside the 200.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio_util::sync::DropGuard;

use crate::answer_headers::{self, AnswerHeaders, Left};
use crate::attempt::GENERATION_ID;
use crate::body::AnswerBody;
use crate::chat::whole_answer;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rate_headers;
use crate::route::Surface;
use crate::service::{Caller, note_refusal};

/// An answer that takes longer is begun. Shorter than the age at which a router that resells this one's answers writes
/// its own request down, so that it knows the id by then.
const DUE_AFTER: Duration = Duration::from_millis(400);
/// White space before a JSON text means nothing.
const HEARTBEAT: Bytes = Bytes::from_static(b"\n");

/// What became of a request.
type Outcome = Result<Response<AnswerBody>, Problem>;

/// How far a whole answer has come, and whether its client has its head.
#[derive(Default)]
pub(crate) struct EarlyHead {
    stage: Mutex<Stage>,
    begun: Notify,
}

#[derive(Default)]
enum Stage {
    /// No upstream answers.
    #[default]
    Asking,
    /// One does, with this generation.
    Begun(HeaderValue),
    /// The client has been told of it.
    Sent,
}

/// The client has the head: no other upstream may answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadSent;

impl EarlyHead {
    /// An upstream begins to answer.
    pub(crate) fn begun(&self, generation: &str) {
        let mut stage = self.lock();
        if let (Stage::Asking, Ok(id)) = (&*stage, HeaderValue::from_str(generation)) {
            *stage = Stage::Begun(id);
            self.begun.notify_one();
        }
    }

    /// Its answer came to nothing.
    pub(crate) fn failed(&self) -> Result<(), HeadSent> {
        let mut stage = self.lock();
        if matches!(*stage, Stage::Sent) {
            return Err(HeadSent);
        }
        *stage = Stage::Asking;
        Ok(())
    }

    /// The generation, once it is time to tell of it: from then on the head counts as sent.
    async fn due(&self, accepted: Instant) -> HeaderValue {
        tokio::time::sleep_until((accepted + DUE_AFTER).into()).await;
        loop {
            if let Some(id) = self.send() {
                return id;
            }
            self.begun.notified().await;
        }
    }

    fn send(&self) -> Option<HeaderValue> {
        let mut stage = self.lock();
        match std::mem::replace(&mut *stage, Stage::Sent) {
            Stage::Begun(id) => Some(id),
            other => {
                *stage = other;
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered by a task.
pub(crate) struct Answering {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) caller: Caller,
    pub(crate) task: JoinHandle<Outcome>,
    /// Dropped when the client has gone.
    pub(crate) _client: DropGuard,
}

impl Answering {
    /// What becomes of it.
    pub(crate) async fn outcome(self) -> Outcome {
        outcome(self.task.await)
    }

    /// What becomes of it, or its head if that is due before. `known` is what headers can tell already.
    pub(crate) async fn outcome_or_head(
        mut self,
        head: &EarlyHead,
        accepted: Instant,
        known: HeaderMap,
    ) -> Outcome {
        tokio::select! {
            biased;
            done = &mut self.task => outcome(done),
            generation = head.due(accepted) => Ok(self.begin(generation, known)),
        }
    }

    fn begin(self, generation: HeaderValue, known: HeaderMap) -> Response<AnswerBody> {
        let heartbeat = self.gateway.settings.timeouts.heartbeat;
        let mut response = whole_answer(AnswerBody::Awaited(Box::new(Awaited {
            answering: Some(self),
            tick: Box::pin(tokio::time::sleep(heartbeat)),
            heartbeat,
        })));
        let headers = response.headers_mut();
        headers.extend(known);
        headers.insert(GENERATION_ID, generation);
        response
    }
}

fn outcome(done: Result<Outcome, tokio::task::JoinError>) -> Outcome {
    done.unwrap_or(Err(Problem::Unavailable { retry_after: None }))
}

/// What the headers of an admitted request can tell before it is answered.
pub(crate) fn known_headers(
    gateway: &Gateway,
    session: &crate::session::Session,
    snapshot: &airouter_store::clients::KeySnapshot,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    rate_headers::add(session.rate.status(), &mut headers);
    if gateway.settings.answer_headers == AnswerHeaders::On {
        let left = Left::of(gateway, &snapshot.budgets);
        answer_headers::add((session.facts().hold, None), left, &mut headers);
    }
    headers
}

/// The body of an answer whose head is sent.
pub struct Awaited {
    /// `None` at its end.
    answering: Option<Answering>,
    tick: Pin<Box<Sleep>>,
    heartbeat: Duration,
}

impl Awaited {
    /// The next bytes for the client.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(answering) = &mut self.answering else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(done) = Pin::new(&mut answering.task).poll(context) {
            let bytes = match outcome(done).map(Response::into_body) {
                Ok(AnswerBody::Whole(bytes)) => bytes,
                // Only a stream has another body, and its head is not sent ahead.
                Ok(_) => None,
                Err(problem) => {
                    note_refusal(&answering.gateway, answering.caller, &problem);
                    Some(problem.into_body(Surface::OpenRouter))
                }
            };
            self.answering = None;
            return Poll::Ready(bytes);
        }
        std::task::ready!(self.tick.as_mut().poll(context));
        self.tick
            .as_mut()
            .reset(tokio::time::Instant::now() + self.heartbeat);
        // It has to be asked again to wake this.
        context.waker().wake_by_ref();
        Poll::Ready(Some(HEARTBEAT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_is_sent_of_what_answers_when_it_is_due() {
        let head = EarlyHead::default();
        head.begun("gen-1");
        assert_eq!(head.failed(), Ok(()));
        head.begun("gen-2");
        assert_eq!(head.due(Instant::now()).await, "gen-2");
        assert_eq!(head.failed(), Err(HeadSent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_waits_for_somebody_who_answers() {
        let head = EarlyHead::default();
        let due = head.due(Instant::now());
        let late = async {
            tokio::time::sleep(DUE_AFTER * 5).await;
            assert_eq!(head.failed(), Ok(()));
            head.begun("gen-3");
        };
        let (id, ()) = tokio::join!(due, late);
        assert_eq!(id, "gen-3");
    }
}
