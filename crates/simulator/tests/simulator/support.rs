//! A plain HTTP client for the tests: one connection a request, bodies kept frame by frame.

use std::net::SocketAddr;

use airouter_simulator::{DEFAULT_MASTER_KEY, RunningSimulator, Simulator, SimulatorConfig};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) frames: Vec<Bytes>,
    /// Whether the body ended properly.
    pub(crate) proper: bool,
}

impl Reply {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frames.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }

    /// The data of the events, `[DONE]` and comments left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        events(&self.text())
    }

    pub(crate) fn done(&self) -> bool {
        self.text().ends_with("data: [DONE]\n\n")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(crate) fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// The text of the number that stands after `"name":`.
pub(crate) fn number_text<'a>(text: &'a str, name: &str) -> &'a str {
    let mark = format!("\"{name}\":");
    let start = text.find(&mark).unwrap() + mark.len();
    let rest = &text[start..];
    &rest[..rest.find([',', '}']).unwrap()]
}

/// A response whose body is still to come; dropping it closes the connection.
pub(crate) struct Open {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    _driver: JoinSet<()>,
}

impl Open {
    /// Reads until the text so far satisfies a condition.
    pub(crate) async fn read_until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        while !enough(&text) {
            let frame = self.body.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        text
    }
}

pub(crate) async fn open(
    address: SocketAddr,
    request: Request<String>,
) -> Result<Open, hyper::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ended = connection.await;
    });
    let response = sender
        .send_request(request.map(Full::<Bytes>::from))
        .await?;
    let (parts, body) = response.into_parts();
    Ok(Open {
        status: parts.status,
        headers: parts.headers,
        body,
        _driver: driver,
    })
}

pub(crate) async fn send(
    address: SocketAddr,
    request: Request<String>,
) -> Result<Reply, hyper::Error> {
    let mut open = open(address, request).await?;
    let mut frames = Vec::new();
    let mut proper = true;
    while let Some(frame) = open.body.frame().await {
        match frame {
            Ok(frame) => frames.push(frame.into_data().unwrap()),
            Err(_) => {
                proper = false;
                break;
            }
        }
    }
    Ok(Reply {
        status: open.status,
        headers: open.headers,
        frames,
        proper,
    })
}

pub(crate) fn request(method: &str, path: &str, key: &str, body: String) -> Request<String> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {key}"))
        .header("user-agent", "tests")
        .body(body)
        .unwrap()
}

pub(crate) struct Sim(pub(crate) RunningSimulator);

impl Sim {
    pub(crate) async fn start() -> Self {
        Self::with(SimulatorConfig::default()).await
    }

    pub(crate) async fn with(config: SimulatorConfig) -> Self {
        Self(Simulator::start(config).await.unwrap())
    }

    pub(crate) async fn call(&self, method: &str, path: &str, key: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        send(self.0.address(), request(method, path, key, body))
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, DEFAULT_MASTER_KEY, Value::Null)
            .await
    }

    pub(crate) fn chat_request(body: &Value) -> Request<String> {
        let path = "/api/v1/chat/completions";
        request("POST", path, DEFAULT_MASTER_KEY, body.to_string())
    }

    pub(crate) async fn chat(&self, body: Value) -> Reply {
        send(self.0.address(), Self::chat_request(&body))
            .await
            .unwrap()
    }

    pub(crate) async fn books(&self) -> Value {
        self.get("/_sim/books").await.json()
    }

    pub(crate) async fn generations(&self) -> Vec<Value> {
        let list = self.get("/_sim/generations").await.json();
        list["generations"].as_array().unwrap().clone()
    }

    /// The last generation, once it has ended.
    pub(crate) async fn last_ended(&self) -> Value {
        loop {
            let last = self.generations().await.pop().unwrap();
            if last["state"] != "running" {
                return last;
            }
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn hello(model: &str) -> Value {
    serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] })
}

/// `hello` with directives.
pub(crate) fn directed(model: &str, stream: bool, directives: Value) -> Value {
    let mut body = hello(model);
    body["stream"] = stream.into();
    body["x_sim"] = directives;
    body
}
