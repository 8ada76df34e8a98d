//! The requests that run on one HTTP/2 connection: a bound on how long a client may not read one answer while it reads
//! others, and how long it asks for nothing.
//!
//! The socket says nothing about that: a client that gives a stream no window stalls this stream alone. But an answer's
//! next bytes are asked for only when those before have found room in its window. An answer that nobody asks for any
//! more is dropped, as if the client had left; the rest of its stream, a few bytes in memory, ends with the connection.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::body::AnswerBody;

/// An answer is handed over in pieces of at most so much, so that a slow client is seen to make progress.
const PIECE_BYTES: usize = 16 << 10;

/// The requests that run on one connection.
pub(super) struct Streams(Mutex<Open>);

struct Open {
    answers: HashMap<u64, Arc<Mutex<Answer>>>,
    next: u64,
    quiet_since: Instant,
}

/// The answer of a request, as far as it has begun.
#[derive(Default)]
struct Answer {
    body: Option<AnswerBody>,
    /// The rest of a part that is longer than a piece.
    rest: Bytes,
    /// Since when a piece is on its way and no other was asked for.
    handed_over: Option<Instant>,
}

/// A request that runs, as long as this lives.
pub(super) struct Stream {
    streams: Arc<Streams>,
    number: u64,
    answer: Arc<Mutex<Answer>>,
}

/// The body of its answer.
pub(super) struct WatchedBody(Stream);

/// The client did not read its answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client does not read this answer")]
pub(super) struct Stalled;

impl Streams {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Open {
            answers: HashMap::new(),
            next: 0,
            quiet_since: Instant::now(),
        }))
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Stream {
        let answer = Arc::<Mutex<Answer>>::default();
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.answers.insert(number, Arc::clone(&answer));
        drop(open);
        Stream {
            streams: Arc::clone(self),
            number,
            answer,
        }
    }

    /// For how long no request has run; `None` while one does.
    pub(super) fn quiet_for(&self) -> Option<Duration> {
        let open = self.open();
        open.answers.is_empty().then(|| open.quiet_since.elapsed())
    }

    /// Drops the answers of which nothing was taken for `patience`. They don't count as running any more.
    pub(super) fn drop_stalled(&self, patience: Duration) {
        let is_stalled = |answer: &Mutex<Answer>| {
            lock(answer)
                .handed_over
                .is_some_and(|since| since.elapsed() >= patience)
        };
        let stalled: Vec<u64> = self
            .open()
            .answers
            .iter()
            .filter(|(_, answer)| is_stalled(answer))
            .map(|(number, _)| *number)
            .collect();
        for number in stalled {
            if let Some(answer) = self.end(number) {
                let body = lock(&answer).body.take();
                drop(body);
            }
        }
    }

    fn end(&self, number: u64) -> Option<Arc<Mutex<Answer>>> {
        let mut open = self.open();
        let ended = open.answers.remove(&number);
        if open.answers.is_empty() && ended.is_some() {
            open.quiet_since = Instant::now();
        }
        ended
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Its answer begins.
    pub(super) fn carry(self, body: AnswerBody) -> WatchedBody {
        lock(&self.answer).body = Some(body);
        WatchedBody(self)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.end(self.number);
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = Stalled;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Stalled>>> {
        let mut answer = lock(&self.0.answer);
        let answer = &mut *answer;
        answer.handed_over = None;
        let Some(body) = &mut answer.body else {
            return Poll::Ready(Some(Err(Stalled)));
        };
        if answer.rest.is_empty() {
            match std::task::ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => answer.rest = frame.into_data().unwrap_or_default(),
                Some(Err(never)) => match never {},
                None => return Poll::Ready(None),
            }
        }
        let length = answer.rest.len().min(PIECE_BYTES);
        let piece = answer.rest.split_to(length);
        answer.handed_over = Some(Instant::now());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let answer = lock(&self.0.answer);
        answer.rest.is_empty() && answer.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let answer = lock(&self.0.answer);
        let hint = answer.body.as_ref().map(Body::size_hint);
        match hint.and_then(|hint| hint.exact()) {
            Some(bytes) => SizeHint::with_exact(bytes + answer.rest.len() as u64),
            None => SizeHint::default(),
        }
    }
}

fn lock(answer: &Mutex<Answer>) -> MutexGuard<'_, Answer> {
    answer.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn body_of(streams: &Arc<Streams>, length: usize) -> WatchedBody {
        streams.begin().carry(AnswerBody::whole(vec![7; length]))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_dropped() {
        let streams = Arc::new(Streams::new());
        let mut body = body_of(&streams, 3 * PIECE_BYTES);
        body.frame().await.unwrap().unwrap();
        tokio::time::advance(PATIENCE / 2).await;
        streams.drop_stalled(PATIENCE);
        body.frame().await.unwrap().unwrap();
        tokio::time::advance(PATIENCE / 2).await;
        streams.drop_stalled(PATIENCE);
        assert_eq!(streams.quiet_for(), None, "it makes progress");
        tokio::time::advance(PATIENCE / 2).await;
        streams.drop_stalled(PATIENCE);
        assert!(lock(&body.0.answer).body.is_none());
        assert_eq!(streams.quiet_for(), Some(Duration::ZERO));
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_waited_for_is_not() {
        let streams = Arc::new(Streams::new());
        let waiting = streams.begin();
        let begun = body_of(&streams, 1);
        tokio::time::advance(PATIENCE * 10).await;
        streams.drop_stalled(PATIENCE);
        assert!(lock(&begun.0.answer).body.is_some());
        assert_eq!(streams.quiet_for(), None);
        drop((waiting, begun));
        tokio::time::advance(PATIENCE).await;
        assert_eq!(streams.quiet_for(), Some(PATIENCE));
    }

    #[tokio::test]
    async fn nothing_is_lost_or_changed_in_pieces() {
        let streams = Arc::new(Streams::new());
        for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES] {
            let body = body_of(&streams, length);
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            assert_eq!(body.is_end_stream(), length == 0);
            let whole = body.collect().await.unwrap().to_bytes();
            assert_eq!(whole, vec![7; length]);
        }
        assert!(streams.quiet_for().is_some());
    }
}
