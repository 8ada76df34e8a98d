//! One connection of the load generator: request after request, made anew when it breaks.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use super::{
    Load,
    answer::{AnswerReader, BodyEnd, NotWhole},
    report::Outcome,
};

const FIRST_BACKOFF: Duration = Duration::from_millis(5);
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An open connection and the task that drives it, which ends when this is dropped.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// Sends requests one after another.
pub(super) struct Connection {
    load: Arc<Load>,
    open: Option<Open>,
}

/// What came of one request, with its status if there was one.
struct Exchange {
    status: Option<u16>,
    bytes: u64,
    outcome: Outcome,
}

impl Exchange {
    fn failed(name: &'static str) -> Self {
        Self {
            status: None,
            bytes: 0,
            outcome: Outcome::Failed(name),
        }
    }
}

impl Connection {
    pub(super) fn new(load: Arc<Load>) -> Self {
        Self { load, open: None }
    }

    /// Runs until the load has ended.
    pub(super) async fn run(mut self) {
        while let Some(ticket) = self.load.ticket() {
            let due = self.load.due(ticket);
            if let Some(due) = due
                && self.sleep_until(due).await.is_err()
            {
                return;
            }
            let Some(mut open) = self.ready().await else {
                return;
            };
            let began = due.unwrap_or_else(Instant::now);
            let exchange = self.exchange(&mut open.sender, ticket, began);
            let timeout = self.load.config.request_timeout;
            let exchange = tokio::time::timeout(timeout, exchange)
                .await
                .unwrap_or_else(|_| Exchange::failed("timeout"));
            // An answer that was given up leaves its connection unusable.
            let reusable = !matches!(exchange.outcome, Outcome::Failed(_));
            self.open = reusable.then_some(open);
            self.load
                .recorder
                .record(exchange.status, exchange.bytes, exchange.outcome);
        }
    }

    async fn sleep_until(&self, due: Instant) -> Result<(), ()> {
        tokio::select! {
            () = tokio::time::sleep_until(due) => Ok(()),
            () = self.load.config.stop.cancelled() => Err(()),
        }
    }

    /// A connection that takes a request; `None` when the load ends before there is one.
    async fn ready(&mut self) -> Option<Open> {
        if let Some(mut open) = self.open.take()
            && open.sender.ready().await.is_ok()
        {
            return Some(open);
        }
        let mut backoff = FIRST_BACKOFF;
        loop {
            if let Ok(Ok(open)) = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await {
                return Some(open);
            }
            self.load.recorder.fault("connect");
            if self.load.ended() || self.sleep_until(Instant::now() + backoff).await.is_err() {
                return None;
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    async fn connect(&self) -> Result<Open, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.load.config.target).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the load generator broke");
            }
        });
        Ok(Open {
            sender,
            _driver: driver,
        })
    }

    fn request(&self, streamed: bool) -> Request<Full<Bytes>> {
        let body = if streamed {
            &self.load.streamed_body
        } else {
            &self.load.whole_body
        };
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.load.path.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::AUTHORIZATION, self.load.authorization.clone());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        request
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        ticket: u64,
        began: Instant,
    ) -> Exchange {
        let streamed = self.load.is_streamed(ticket);
        let Ok(response) = sender.send_request(self.request(streamed)).await else {
            return Exchange::failed("send");
        };
        let status = response.status();
        let reader = if streamed {
            AnswerReader::streamed()
        } else {
            AnswerReader::whole()
        };
        let mut exchange = read(response.into_body(), reader, began).await;
        exchange.status = Some(status.as_u16());
        let ended = !matches!(exchange.outcome, Outcome::Failed("body"));
        if status != http::StatusCode::OK && ended {
            exchange.outcome = Outcome::Refused;
        }
        exchange
    }
}

async fn read(mut body: Incoming, mut reader: AnswerReader, began: Instant) -> Exchange {
    let mut first = None;
    let mut bytes: u64 = 0;
    let end = loop {
        match body.frame().await {
            None => break BodyEnd::Proper,
            Some(Err(_)) => break BodyEnd::BrokenOff,
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                first.get_or_insert_with(|| began.elapsed());
                bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
                reader.feed(&data);
            }
        }
    };
    let last = began.elapsed();
    let outcome = match (reader.end(end), end) {
        (Ok(answer), _) => Outcome::Whole {
            answer,
            first: first.unwrap_or(last),
            last,
        },
        (Err(_), BodyEnd::BrokenOff) => Outcome::Failed("body"),
        (Err(NotWhole::Incomplete), BodyEnd::Proper) => Outcome::Failed("incomplete"),
        (Err(NotWhole::Error), BodyEnd::Proper) => Outcome::Failed("error_in_200"),
    };
    Exchange {
        status: None,
        bytes,
        outcome,
    }
}
