//! One attempt of a request on one master account: sends it, and reads on until an answer has begun or has failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use airouter_billing::event::Delivery;
use airouter_openrouter::{Fault, MAX_ERROR_BODY_BYTES, UpstreamError, retry_after};
use airouter_store::master_accounts::UpstreamKind;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::hops::Hops;
use crate::masters::{Issuer, Master, MasterKey, OnMaster};
use crate::meter::Finality;
use crate::metrics::FaultKind;
use crate::offers::Suited;
use crate::problem::Problem;
use crate::session::Session;
use crate::upstream::UpstreamBody;
use crate::wire::answer::ReadAnswer;
use crate::wire::chunk::{self, Inspected, Interest};
use crate::wire::sse::{EventSplitter, Frame, Kind, data_payload};

/// The largest answer that is not streamed.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// An error's body must be there within.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The first event may still come so long behind headers that came late.
const BEHIND_LATE_HEADERS: Duration = Duration::from_millis(250);
/// The upstream's id of a generation, in its headers (wire-contract §1.2).
pub(crate) const GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");

/// What an upstream began to answer.
pub(crate) enum Answered {
    /// All of it.
    Whole(ReadAnswer),
    /// A stream, whose first event may already have been taken out of the splitter.
    Stream(OpenStream),
}

/// A stream that has begun.
pub(crate) struct OpenStream {
    pub(crate) body: UpstreamBody,
    pub(crate) splitter: EventSplitter,
    /// The first event with data; `None` when it takes long to come.
    pub(crate) first: Option<Frame>,
}

/// Why an attempt failed.
pub(crate) enum Failure {
    /// Another account would answer the same.
    Final(Problem),
    /// It may be tried elsewhere.
    Elsewhere {
        /// What is counted.
        kind: FaultKind,
        /// What the upstream said, if it said anything.
        fault: Option<Fault>,
        /// How far it had come.
        progress: Progress,
    },
}

/// A connection that breaks within this time after a request was sent on it was most likely dead before.
const SOON: Duration = Duration::from_secs(2);

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing of an answer had come.
    Sent,
    /// Nor had it after some time: the upstream may have been at it, and bill it.
    Waited,
    /// The headers had.
    Answering,
}

impl Failure {
    fn of(kind: FaultKind) -> Self {
        Self::Elsewhere {
            kind,
            fault: None,
            progress: Progress::Sent,
        }
    }

    fn waited(kind: FaultKind) -> Self {
        Self::Elsewhere {
            kind,
            fault: None,
            progress: Progress::Waited,
        }
    }

    fn while_answering(self) -> Self {
        match self {
            Self::Elsewhere { kind, fault, .. } => Self::Elsewhere {
                kind,
                fault,
                progress: Progress::Answering,
            },
            last => last,
        }
    }
}

/// One attempt of a request on one account.
pub(crate) struct Attempt<'a> {
    session: &'a mut Session,
    on: (Arc<Master>, Arc<MasterKey>),
}

impl<'a> Attempt<'a> {
    /// It begins.
    pub(crate) fn begin(
        session: &'a mut Session,
        on: OnMaster,
        suited: Option<Arc<Suited>>,
    ) -> Self {
        let both = (Arc::clone(&on.master), Arc::clone(&on.key));
        session.begin_attempt(on, suited);
        Self { session, on: both }
    }

    /// Sends `body`, and waits until an answer has begun.
    pub(crate) async fn run(mut self, body: &Bytes) -> Result<Answered, Failure> {
        let gateway = Arc::clone(&self.session.gateway);
        let patience = match self.session.facts().delivery {
            Delivery::Streamed => gateway.settings.timeouts.stream_headers,
            Delivery::Whole => gateway.settings.timeouts.whole_headers,
        };
        let (master, key) = &self.on;
        let hops = self.session.hops;
        let begun = Instant::now();
        let sent = gateway.upstream.send(request(master, key, hops, body));
        let response = match timeout(patience, sent).await {
            Ok(Ok(response)) => response,
            // Nothing was sent: nothing can be billed.
            Ok(Err(error)) if error.is_connect() => return Err(Failure::of(FaultKind::Connect)),
            Ok(Err(_)) if begun.elapsed() > SOON => return Err(Failure::waited(FaultKind::Broken)),
            Ok(Err(_)) => return Err(Failure::of(FaultKind::Broken)),
            Err(_) => return Err(Failure::of(FaultKind::Timeout)),
        };
        let (parts, incoming) = response.into_parts();
        self.session.moments.upstream_first = Some(Instant::now());
        self.note_generation(&parts.headers);
        let answered = self.read(&parts, incoming).await;
        if answered.is_err() && may_be_billed(parts.status) {
            self.session
                .note_failed_attempt(gateway.settler.reserve().ok());
        }
        answered.map_err(Failure::while_answering)
    }

    async fn read(&mut self, parts: &Parts, incoming: Incoming) -> Result<Answered, Failure> {
        let body = UpstreamBody::new(&parts.headers, incoming)
            .map_err(|_| Failure::of(FaultKind::BadAnswer))?;
        if parts.status != StatusCode::OK {
            return Err(self.refused(parts.status, &parts.headers, body).await);
        }
        if is_event_stream(&parts.headers) {
            self.open_stream(body).await
        } else {
            if let (Some(head), Some(id)) = (&self.session.head, &self.session.meter.generation_id)
            {
                head.begun(id);
            }
            self.read_whole(body).await
        }
    }

    fn note_generation(&mut self, headers: &HeaderMap) {
        let id = headers.get(GENERATION_ID).and_then(|id| id.to_str().ok());
        self.session.meter.note_generation(id);
        self.session.note_served();
    }

    async fn refused(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: UpstreamBody,
    ) -> Failure {
        let body = timeout(
            ERROR_BODY_TIMEOUT,
            collect(body, MAX_ERROR_BODY_BYTES, ERROR_BODY_TIMEOUT),
        );
        let body = body.await.ok().and_then(Result::ok).unwrap_or_default();
        let mut error = UpstreamError::parse(status.as_u16(), headers, &body);
        error.retry_after = error.retry_after.or_else(|| retry_after(headers));
        failure_of(&error, self.kind())
    }

    fn kind(&self) -> UpstreamKind {
        self.on.0.kind
    }

    /// A whole answer. It holds no byte back from the client that could not be tried elsewhere.
    async fn read_whole(&mut self, body: UpstreamBody) -> Result<Answered, Failure> {
        let timeouts = self.session.gateway.settings.timeouts;
        let reading = collect(body, ANSWER_BYTES_MAX, timeouts.upstream_idle);
        let bytes = match timeout(timeouts.upstream_answer, reading).await {
            Ok(bytes) => bytes.map_err(Failure::of)?,
            Err(_) => return Err(Failure::of(FaultKind::Timeout)),
        };
        self.session.moments.upstream_last = Some(Instant::now());
        let read = ReadAnswer::read(bytes.into());
        let read = read.map_err(|_| Failure::of(FaultKind::BadAnswer))?;
        let answer = read.look();
        let meter = &mut self.session.meter;
        meter.note_generation(answer.id.as_deref());
        meter.note_server(answer.model.as_deref(), answer.provider.as_deref());
        if let Some(usage) = answer.usage {
            meter.read(usage, Finality::Final);
        }
        if answer.is_failure() && answer.choices != chunk::Choices::Content {
            return Err(
                match UpstreamError::inside_success(read.text().trim_ascii().as_bytes()) {
                    Some(error) => failure_of(&error, self.kind()),
                    None => Failure::of(FaultKind::BadAnswer),
                },
            );
        }
        Ok(Answered::Whole(read))
    }

    /// Waits for the first event with data, or for as long as the client can wait without a heartbeat. The wait for the
    /// headers counts: through routers in a row it would add up.
    async fn open_stream(&mut self, mut body: UpstreamBody) -> Result<Answered, Failure> {
        let patience = self.session.gateway.settings.timeouts.first_event;
        let waited = self.session.moments.sent.map(|sent| sent.elapsed());
        let patience = patience.saturating_sub(waited.unwrap_or_default());
        let patience = patience.max(BEHIND_LATE_HEADERS);
        let mut splitter = EventSplitter::new();
        match timeout(patience, first_event(&mut body, &mut splitter)).await {
            Err(_) => Ok(Answered::Stream(OpenStream {
                body,
                splitter,
                first: None,
            })),
            Ok(Err(kind)) => Err(Failure::of(kind)),
            Ok(Ok(first)) => {
                if let Frame::Event {
                    bytes,
                    kind: Kind::Data,
                } = &first
                {
                    self.inspect_first(&data_payload(bytes))?;
                }
                Ok(Answered::Stream(OpenStream {
                    body,
                    splitter,
                    first: Some(first),
                }))
            }
        }
    }

    fn inspect_first(&mut self, payload: &[u8]) -> Result<(), Failure> {
        match chunk::inspect(payload, Interest::Identity) {
            Inspected::Facts(facts)
                if facts.error.is_some() && facts.choices != chunk::Choices::Content =>
            {
                self.session.meter.note_generation(facts.id.as_deref());
                Err(match UpstreamError::inside_success(payload) {
                    Some(error) => failure_of(&error, self.kind()),
                    None => Failure::of(FaultKind::ProviderFailed),
                })
            }
            Inspected::Unreadable => Err(Failure::of(FaultKind::BadAnswer)),
            Inspected::Facts(_) | Inspected::Ordinary => Ok(()),
        }
    }
}

/// Whether an upstream may have billed an answer with this status that came to nothing: it began to answer, or it failed
/// late. What it refuses at once it does not bill.
fn may_be_billed(status: StatusCode) -> bool {
    status.is_success() || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}

/// Only what is needed goes upstream: nothing of the client's own headers. Another AI Router is told how many were before
/// it.
fn request(master: &Master, key: &MasterKey, hops: Hops, body: &Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = master.chat.clone();
    let headers = request.headers_mut();
    headers.reserve(6);
    if let Some(authorization) = &key.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("airouter/", env!("CARGO_PKG_VERSION"))),
    );
    if key.issuer == Issuer::Router {
        hops.add_to(headers);
    }
    request
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .trim_start()
                .to_ascii_lowercase()
                .starts_with("text/event-stream")
        })
}

/// The first frame that is more than a comment. An end before it is a failure.
async fn first_event(
    body: &mut UpstreamBody,
    splitter: &mut EventSplitter,
) -> Result<Frame, FaultKind> {
    loop {
        while let Some(frame) = splitter.next_frame() {
            match frame {
                Frame::Event {
                    kind: Kind::Comment | Kind::Other,
                    ..
                } => {}
                Frame::Event {
                    kind: Kind::Done, ..
                } => return Err(FaultKind::BadAnswer),
                frame => return Ok(frame),
            }
        }
        match body.next().await {
            Some(Ok(bytes)) => splitter.feed(bytes),
            Some(Err(_)) => return Err(FaultKind::Broken),
            None => {
                return match splitter.finish() {
                    Some(
                        frame @ Frame::Event {
                            kind: Kind::Data, ..
                        },
                    ) => Ok(frame),
                    _ => Err(FaultKind::BadAnswer),
                };
            }
        }
    }
}

/// A whole body, if it is within `limit` bytes and never pauses for longer than `idle`. One that comes in one piece is
/// not copied.
async fn collect(mut body: UpstreamBody, limit: usize, idle: Duration) -> Result<Bytes, FaultKind> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let part = match timeout(idle, body.next()).await {
            Ok(Some(Ok(part))) => part,
            Ok(Some(Err(_))) => return Err(FaultKind::Broken),
            Ok(None) => break,
            Err(_) => return Err(FaultKind::Timeout),
        };
        if first.len() + joined.len() + part.len() > limit {
            return Err(FaultKind::BadAnswer);
        }
        if first.is_empty() && joined.is_empty() {
            first = part;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&part);
        }
    }
    Ok(if joined.is_empty() {
        first
    } else {
        joined.freeze()
    })
}

fn failure_of(error: &UpstreamError, kind: UpstreamKind) -> Failure {
    let fault = match kind {
        UpstreamKind::OpenRouter => error.fault(),
        UpstreamKind::Compatible => error.fault_of_server(),
    };
    if fault.may_succeed_elsewhere() {
        return Failure::Elsewhere {
            kind: fault.into(),
            fault: Some(fault),
            progress: Progress::Sent,
        };
    }
    Failure::Final(Problem::Rejected {
        status: error.status,
        message: client_message(error),
    })
}

/// Words that tell of the operator's account, or where it is.
const TELLTALE_WORDS: [&str; 14] = [
    "openrouter",
    "http:",
    "https:",
    "account",
    "credit",
    "api key",
    "settings",
    "sk-",
    "org_",
    "org-",
    "proj_",
    "proj-",
    "organization",
    "user_",
];

/// What is wrong with the request, in the upstream's words where these speak of nothing but the request.
fn client_message(error: &UpstreamError) -> String {
    let texts = [
        error.provider_message.as_deref(),
        Some(error.message.as_str()),
    ];
    let is_safe = |text: &&str| {
        let lower = text.to_ascii_lowercase();
        !text.trim().is_empty() && !TELLTALE_WORDS.iter().any(|word| lower.contains(word))
    };
    match texts.into_iter().flatten().find(is_safe) {
        Some(text) => text.chars().take(2_000).collect(),
        None => "The model's provider refused this request. Check the model, the parameters and the content.".to_owned(),
    }
}
