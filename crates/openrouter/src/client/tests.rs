use std::future::Future;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::error::TransportFault;
use crate::number::NumberText;

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn key() -> SecretString {
    SecretString::from("sk-or-v1-secret")
}

/// Makes a call against a server that answers it with these bytes; returns the result and the head of the request.
async fn call<T, F>(answer: Vec<u8>, call: impl FnOnce(ControlClient) -> F) -> (T, String)
where
    F: Future<Output = T>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        // The client may hang up before it has read everything.
        let _ = socket.write_all(&answer).await;
        String::from_utf8(head).unwrap()
    };
    let client = ControlClient::new(&base_url, ControlTimeouts::default(), None).unwrap();
    tokio::join!(call(client), serve)
}

async fn key_status(bytes: Vec<u8>) -> Result<KeyStatus, ControlError> {
    call(bytes, |client| async move { client.key(&key()).await })
        .await
        .0
}

#[tokio::test]
async fn models_are_asked_for_in_all_modalities_and_without_a_key() {
    let body = r#"{"data":[{"id":"a/b","pricing":{"prompt":"0.1"}},{"id":"broken"}]}"#;
    let (list, head) = call(answer("200 OK", "", body), |client| async move {
        client.models(None).await
    })
    .await;
    let list = list.unwrap();
    assert_eq!((list.models.len(), list.broken.len()), (1, 1));
    assert!(
        head.starts_with("GET /api/v1/models?output_modalities=all HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
}

#[tokio::test]
async fn a_generation_is_found_by_its_id() {
    let body = r#"{"data":{"id":"gen-1","total_cost":1.25e-7,"is_byok":false}}"#;
    let found =
        |client: ControlClient| async move { client.generation(&key(), "gen-1&key=x y").await };
    let (generation, head) = call(answer("200 OK", "", body), found).await;
    assert_eq!(
        generation
            .unwrap()
            .unwrap()
            .total_cost
            .as_ref()
            .map(NumberText::as_str),
        Some("1.25e-7")
    );
    assert!(
        head.starts_with("GET /api/v1/generation?id=gen-1%26key%3Dx+y HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("authorization: Bearer sk-or-v1-secret\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_generation_that_is_not_there_yet_is_none() {
    let missing = |client: ControlClient| async move { client.generation(&key(), "gen-1").await };
    let body = r#"{"error":{"code":404,"message":"Generation gen-1 not found"}}"#;
    assert_eq!(
        call(answer("404 Not Found", "", body), missing).await.0,
        Ok(None)
    );
}

#[tokio::test]
async fn a_router_tells_what_is_not_there_yet_from_what_never_was() {
    let asked = |headers: &'static str| async move {
        let look =
            |client: ControlClient| async move { client.look_generation_up(&key(), "gen-1").await };
        call(answer("404 Not Found", headers, "{}"), look).await.0
    };
    assert_eq!(asked("retry-after: 1\r\n").await, Ok(LookedUp::NotYet));
    assert_eq!(asked("").await, Ok(LookedUp::Unknown));
}

#[tokio::test]
async fn credits_and_keys_keep_the_digits_of_their_money() {
    let credits = |client: ControlClient| async move { client.credits(&key()).await };
    let body = r#"{"data":{"total_credits":100.50,"total_usage":0.000000001}}"#;
    let credits = call(answer("200 OK", "", body), credits).await.0.unwrap();
    assert_eq!(
        (credits.total_credits.as_str(), credits.total_usage.as_str()),
        ("100.50", "0.000000001")
    );
    let body = r#"{"data":{"label":"sk-or-v1-abc...123","limit":10,"limit_remaining":null,"limit_reset":"daily","usage":1e-9}}"#;
    let status = key_status(answer("200 OK", "", body)).await.unwrap();
    assert_eq!(status.limit.as_ref().map(NumberText::as_str), Some("10"));
    assert_eq!(
        (status.limit_remaining, status.limit_reset.as_deref()),
        (None, Some("daily"))
    );
}

#[tokio::test]
async fn what_was_used_is_asked_for_by_day() {
    let activity =
        |client: ControlClient| async move { client.activity(&key(), "2026-11-20").await };
    let body = r#"{"data":[{"date":"2026-11-20","usage":1.25e-7,"requests":3}]}"#;
    let (rows, head) = call(answer("200 OK", "", body), activity).await;
    assert_eq!(rows.unwrap()[0].usage.as_str(), "1.25e-7");
    assert!(
        head.starts_with("GET /api/v1/activity?date=2026-11-20 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("authorization: Bearer sk-or-v1-secret\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn every_status_is_a_fact_to_act_on() {
    let retry_after = Some(Duration::from_secs(7));
    for (status, headers, expected) in [
        ("401 Unauthorized", "", ControlError::Unauthorized),
        ("402 Payment Required", "", ControlError::PaymentRequired),
        ("403 Forbidden", "", ControlError::Forbidden),
        (
            "429 Too Many Requests",
            "retry-after: 7\r\n",
            ControlError::RateLimited { retry_after },
        ),
        ("524 Timeout", "", ControlError::Server { status: 524 }),
        (
            "404 Not Found",
            "",
            ControlError::NotFound { retry_after: None },
        ),
        (
            "302 Found",
            "location: http://127.0.0.1:1/\r\n",
            ControlError::Refused { status: 302 },
        ),
    ] {
        let error = key_status(answer(
            status,
            headers,
            r#"{"error":{"message":"SECRET WORDS"}}"#,
        ))
        .await
        .unwrap_err();
        assert_eq!(error, expected);
        assert!(!format!("{error} {error:?}").contains("SECRET"));
    }
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let malformed = ControlError::Malformed { what: "a key" };
    for body in [
        "",
        "<html>",
        r#"{"data":7}"#,
        r#"{"data":[]}"#,
        r#"{"data":{"limit":"lots"}}"#,
    ] {
        assert_eq!(
            key_status(answer("200 OK", "", body)).await,
            Err(malformed),
            "{body}"
        );
    }
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec();
    assert_eq!(
        key_status(cut).await,
        Err(ControlError::Transport(TransportFault::Broken))
    );
    assert_eq!(
        key_status(b"SSH-2.0\r\n\r\n".to_vec()).await,
        Err(ControlError::Transport(TransportFault::Broken))
    );
    let mut large = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    large.resize(large.len() + MAX_RECORD_BYTES + 1, b' ');
    assert_eq!(key_status(large).await, Err(ControlError::TooLarge));
}

#[tokio::test]
async fn a_silent_upstream_and_one_that_is_not_there_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/api/v1/", listener.local_addr().unwrap());
    let timeouts = ControlTimeouts {
        call: Duration::from_millis(50),
        ..ControlTimeouts::default()
    };
    let client = ControlClient::new(&base_url, timeouts, None).unwrap();
    assert_eq!(
        client.key(&key()).await,
        Err(ControlError::Transport(TransportFault::Timeout))
    );
    drop(listener);
    let client = ControlClient::new(&base_url, ControlTimeouts::default(), None).unwrap();
    assert_eq!(
        client.key(&key()).await,
        Err(ControlError::Transport(TransportFault::Connect))
    );
}

#[tokio::test]
async fn a_key_that_no_header_can_carry_is_not_sent() {
    let client = ControlClient::new(
        "http://127.0.0.1:1/api/v1",
        ControlTimeouts::default(),
        None,
    )
    .unwrap();
    let error = client.key(&SecretString::from("sk\r\nx: y")).await;
    assert_eq!(error, Err(ControlError::Unauthorized));
}

#[tokio::test]
async fn an_https_upstream_is_reached_through_the_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = SecretString::from(format!(
        "http://user:password@{}",
        listener.local_addr().unwrap()
    ));
    let client = ControlClient::new(
        "https://upstream.invalid/api/v1",
        ControlTimeouts::default(),
        Some(&proxy),
    )
    .unwrap();
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        socket
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(head).unwrap()
    };
    let secret = key();
    let (result, head) = tokio::join!(client.key(&secret), serve);
    assert_eq!(
        result,
        Err(ControlError::Transport(TransportFault::Connect))
    );
    assert!(
        head.starts_with("CONNECT upstream.invalid:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(!head.contains("sk-or-v1"), "{head}");
}

#[test]
fn wrong_configurations_are_refused() {
    let new = |url: &str, proxy: Option<&str>| {
        let proxy = proxy.map(SecretString::from);
        ControlClient::new(url, ControlTimeouts::default(), proxy.as_ref()).map(|_| ())
    };
    for url in [
        "",
        "openrouter.ai",
        "ftp://a/b",
        "https://user:pw@a/b",
        "https://a/b?c",
        "https://a/b#c",
        "mailto:a@b",
    ] {
        assert_eq!(
            new(url, None),
            Err(InvalidClientConfiguration::BaseUrl),
            "{url}"
        );
    }
    assert_eq!(
        new("https://a/b", Some("::")),
        Err(InvalidClientConfiguration::Proxy)
    );
}

/// A handshake is begun with the upstream itself (its first byte is that of a TLS handshake record), and fails as a
/// connection when the answer isn't TLS.
#[tokio::test]
async fn an_https_upstream_is_spoken_to_in_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}/api/v1", listener.local_addr().unwrap());
    let client = ControlClient::new(&base_url, ControlTimeouts::default(), None).unwrap();
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let first = socket.read_u8().await.unwrap();
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        first
    };
    let secret = key();
    let (result, first) = tokio::join!(client.key(&secret), serve);
    assert_eq!(
        result,
        Err(ControlError::Transport(TransportFault::Connect))
    );
    assert_eq!(first, 0x16);
}
